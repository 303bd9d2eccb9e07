/* memory.h - where payload blocks and parsed torrents of the shell live. */
#ifndef SP_IO_MEMORY_H
#define SP_IO_MEMORY_H

#include "spate/mem.h"

/* malloc and free. */
const struct sp_mem *sp_heap(void);
/* Slabs of payload: whole mappings, huge pages where the system gives them,
 * given back on free. */
const struct sp_mem *sp_block_memory(void);

#endif
