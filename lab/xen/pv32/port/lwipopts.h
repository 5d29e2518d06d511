// lwIP for this guest: no threads, IPv4 and TCP, memory of its own.
#pragma once
#define NO_SYS 1
#define LWIP_TIMERS 1
#define SYS_LIGHTWEIGHT_PROT 0
#define LWIP_NETCONN 0
#define LWIP_SOCKET 0
#define LWIP_IPV4 1
#define LWIP_IPV6 0
#define LWIP_ARP 1
#define LWIP_ICMP 1
#define LWIP_RAW 0
#define LWIP_UDP 0
#define LWIP_DHCP 0
#define LWIP_AUTOIP 0
#define LWIP_TCP 1
#define LWIP_STATS 0
#define IP_REASSEMBLY 0
#define IP_FRAG 0
#define MEM_ALIGNMENT 4
#define MEM_SIZE (512 * 1024)
#define MEMP_NUM_TCP_PCB 16
#define MEMP_NUM_TCP_SEG 256
#define PBUF_POOL_SIZE 256
#define TCP_MSS 1460
#define TCP_WND (32 * 1024)
#define TCP_SND_BUF (32 * 1024)
#define TCP_SND_QUEUELEN 128
