// Asks an emulated device, without a break, for what never changes: the vendor and the number of the first PCI device. Each
// read is a request to the device model. "pci-reads" counts them; whenever something else comes, /run/pci-wrong gets a line.
#include "common.h"

static uint32_t look(int fd) {
  uint32_t id = 0;
  if (pread(fd, &id, sizeof id, 0) != (ssize_t)sizeof id) die("config");
  return id;
}

int main(void) {
  const int fd = open("/sys/bus/pci/devices/0000:00:00.0/config", O_RDONLY | O_CLOEXEC);
  if (fd < 0) die("no first PCI device");
  const int wrong = open("/run/pci-wrong", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (wrong < 0) die("/run/pci-wrong");
  const uint32_t id = look(fd);
  for (uint64_t reads = 1;; ++reads) {
    const uint32_t seen = look(fd);
    if (seen != id) dprintf(wrong, "%llu %08x\n", (unsigned long long)reads, seen);
    if (reads % 256 == 0) publish("pci-reads", reads);
  }
}
