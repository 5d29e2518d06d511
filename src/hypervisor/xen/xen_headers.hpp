// Xen's headers, which do not say themselves that they are C. Included from here only: several of our files
// are compiled as one, and whoever includes them first would decide for all.
#pragma once

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

extern "C" {
#include <xenctrl.h>
#include <xendevicemodel.h>
#include <xenevtchn.h>
#include <xenforeignmemory.h>
#include <xenguest.h>
#include <xenstore.h>
#include <xentoollog.h>

// In libxenctrl, for Xen's other libraries; no installed header has them. `frames` become types
// (XEN_DOMCTL_PFINFO_*), an XTAB for each that is not the domain's; at most 1024 at a time.
int xc_get_pfn_type_batch(xc_interface* control, uint32_t domid, unsigned int count, xen_pfn_t* frames);
// XENMEM_*
long xc_memory_op(xc_interface* control, unsigned int command, void* argument, size_t bytes);
}
