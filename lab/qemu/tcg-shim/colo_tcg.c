/*
 * Makes COLO usable in an emulated (TCG) QEMU older than 11. For labs on machines without hardware virtualization;
 * never needed, and never to be used, with KVM.
 *
 * QEMU calls memory_global_after_dirty_log_sync() each time it has collected the guest's dirty pages. Under TCG two
 * things are wrong there:
 *
 *  1. COLO calls it without holding QEMU's big lock. Inside, QEMU waits for each virtual CPU on a condition variable
 *     with that very lock, which it does not own: undefined, in practice a deadlock after one or two checkpoints.
 *
 *  2. Before QEMU 9.0, collecting does not take the CPUs' TLB entries back that say "this page is dirty already, do not
 *     report writes to it". Writes that follow through such an entry are never reported: a page of the guest is missing
 *     from the next checkpoint (or from an ordinary migration). Seen as a handful of stale pages every few dozen
 *     checkpoints; found by comparing the guest's memory with the captured one.
 *
 * So this library, given by LD_PRELOAD, puts a function of its own in that place:
 *
 *    big lock held (synchronization, guest runs)  -> every CPU flushes its TLB at once, and we wait for it: that is also
 *                                                    what QEMU's own function is for (the CPU has ended the block of code
 *                                                    it was in, so no write is between "marked" and "done")
 *    not held (COLO checkpoint, guest is stopped) -> every CPU will flush its TLB before it runs again; nobody waits
 *
 * It is put there by overwriting the first bytes of QEMU's function, as QEMU's calls to itself cannot be interposed.
 * x86-64 only. If QEMU does not export what is needed, nothing is changed and a line on stderr says so.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* QEMU's types, as far as a call needs them (include/hw/core/cpu.h). */
typedef struct CPUState CPUState;
typedef union {
  unsigned long number;
  void* pointer;
} CpuWorkData;
typedef void CpuWork(CPUState* cpu, CpuWorkData data);

static CPUState* (*get_cpu)(int index);
static void (*run_on_cpu)(CPUState* cpu, CpuWork* work, CpuWorkData data);
static void (*async_run_on_cpu)(CPUState* cpu, CpuWork* work, CpuWorkData data);
static void (*tlb_flush)(CPUState* cpu);
static bool (*big_lock_held)(void);

/* Runs on the CPU's own thread. */
static void flush_own_tlb(CPUState* cpu, CpuWorkData data) {
  (void)data;
  tlb_flush(cpu);
}

static void after_dirty_log_sync(void) {
  const CpuWorkData nothing = {0};
  const bool may_wait = big_lock_held();
  CPUState* cpu;
  for (int index = 0; (cpu = get_cpu(index)) != NULL; ++index)
    (may_wait ? run_on_cpu : async_run_on_cpu)(cpu, flush_own_tlb, nothing);
}

/* mov $replacement, %rax; jmp *%rax */
static bool redirect(void* function, void (*replacement)(void)) {
  unsigned char code[12] = {0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0};
  memcpy(code + 2, &replacement, sizeof replacement);
  const uintptr_t page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
  const uintptr_t begin = (uintptr_t)function & ~(page_bytes - 1);
  const uintptr_t end = ((uintptr_t)function + sizeof code + page_bytes - 1) & ~(page_bytes - 1);
  if (mprotect((void*)begin, end - begin, PROT_READ | PROT_WRITE | PROT_EXEC) != 0) return false;
  memcpy(function, code, sizeof code);
  return mprotect((void*)begin, end - begin, PROT_READ | PROT_EXEC) == 0;
}

__attribute__((constructor)) static void install(void) {
  void* place = dlsym(RTLD_DEFAULT, "memory_global_after_dirty_log_sync");
  if (place == NULL) return; /* not QEMU: a program that merely inherited LD_PRELOAD */
  *(void**)&get_cpu = dlsym(RTLD_DEFAULT, "qemu_get_cpu");
  *(void**)&run_on_cpu = dlsym(RTLD_DEFAULT, "run_on_cpu");
  *(void**)&async_run_on_cpu = dlsym(RTLD_DEFAULT, "async_run_on_cpu");
  *(void**)&tlb_flush = dlsym(RTLD_DEFAULT, "tlb_flush");
  *(void**)&big_lock_held = dlsym(RTLD_DEFAULT, "qemu_mutex_iothread_locked");
  if (big_lock_held == NULL) *(void**)&big_lock_held = dlsym(RTLD_DEFAULT, "bql_locked"); /* its name since 9.0 */
  if (!get_cpu || !run_on_cpu || !async_run_on_cpu || !tlb_flush || !big_lock_held ||
      !redirect(place, after_dirty_log_sync))
    fprintf(stderr, "remus lab: this QEMU cannot be helped to checkpoint under TCG\n");
}
