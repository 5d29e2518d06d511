// Xen's clock (xen.h, struct vcpu_time_info) is its host's; the guest's own goes on from host to host.
#include "guest.h"

static uint64_t offset_ns;

uint64_t clock_tsc(void) {
  uint32_t low, high;
  __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
  return (uint64_t)high << 32 | low;
}

static uint64_t host_ns(void) {
  const volatile struct vcpu_time_info* time = &shared->vcpu_info[0].time;
  for (;;) {
    const uint32_t version = time->version;
    xen_rmb();
    uint64_t passed = clock_tsc() - time->tsc_timestamp;
    const int8_t shift = time->tsc_shift;
    passed = shift >= 0 ? passed << shift : passed >> -shift;
    const uint32_t factor = time->tsc_to_system_mul;
    const uint64_t scaled = ((passed >> 32) * factor) + ((uint64_t)(uint32_t)passed * factor >> 32);
    const uint64_t now = time->system_time + scaled;
    xen_rmb();
    if ((version & 1) == 0 && version == time->version) return now;
  }
}

uint64_t clock_ns(void) {
  return host_ns() - offset_ns;
}
uint64_t clock_xen_ns(uint64_t ns) {
  return ns + offset_ns;
}
void clock_resume(uint64_t was_ns) {
  offset_ns = host_ns() - was_ns;
}
