/* spate/version.h - the version of these headers. */
#ifndef SPATE_VERSION_H
#define SPATE_VERSION_H

#define SP_VERSION_MAJOR 0
#define SP_VERSION_MINOR 1
#define SP_VERSION_PATCH 0
#define SP_VERSION       "0.1.0"

#endif
