/* memory.h - where payload blocks live; all else lives on sp_mem_libc(). */
#ifndef SP_IO_MEMORY_H
#define SP_IO_MEMORY_H

#include "spate/mem.h"

/* Slabs of payload: whole mappings, huge pages where the system gives them,
 * given back on free. */
const struct sp_mem *sp_block_memory(void);

#endif
