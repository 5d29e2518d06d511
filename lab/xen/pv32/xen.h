// Hypercalls of a 32-bit paravirtual guest: number by the entry of the hypercall page, arguments in ebx, ecx, edx, esi,
// edi, result in eax (Xen's public/arch-x86/xen-x86_32.h).
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/sched.h>
#include <xen/xen.h>

enum { PAGE_BYTES = 4096 };
#define PAGE_ALIGNED __attribute__((aligned(PAGE_BYTES)))

#define xen_mb() __asm__ volatile("lock; addl $0, (%%esp)" ::: "memory")
#define xen_rmb() __asm__ volatile("" ::: "memory")  // x86 keeps loads in order, and stores
#define xen_wmb() __asm__ volatile("" ::: "memory")

extern char hypercall_page[PAGE_BYTES];

static inline long hypercall(unsigned number, unsigned long a, unsigned long b, unsigned long c,
                             unsigned long d) {
  long result;
  __asm__ volatile("call *%%eax"
                   : "=a"(result), "+b"(a), "+c"(b), "+d"(c), "+S"(d)
                   : "0"(hypercall_page + number * 32)
                   : "memory", "edi");
  return result;
}

static inline long event_channel_op(int command, void* argument) {
  return hypercall(__HYPERVISOR_event_channel_op, (unsigned long)command, (unsigned long)argument, 0, 0);
}
static inline long grant_table_op(unsigned command, void* argument, unsigned count) {
  return hypercall(__HYPERVISOR_grant_table_op, command, (unsigned long)argument, count, 0);
}
static inline long sched_op(int command, void* argument, unsigned long record) {
  return hypercall(__HYPERVISOR_sched_op, (unsigned long)command, (unsigned long)argument, record, 0);
}
static inline long update_va_mapping(void* address, uint64_t entry, unsigned long flags) {
  return hypercall(__HYPERVISOR_update_va_mapping, (unsigned long)address, (unsigned long)entry,
                   (unsigned long)(entry >> 32), flags);
}
static inline long mmuext_op(struct mmuext_op* operation) {
  return hypercall(__HYPERVISOR_mmuext_op, (unsigned long)operation, 1, 0, DOMID_SELF);
}
