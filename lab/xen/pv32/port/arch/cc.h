// What lwIP wants to know of the compiler and the system.
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

void die(const char* format, ...) __attribute__((format(printf, 1, 2), noreturn));
uint32_t port_random(void);

#define LWIP_NO_INTTYPES_H 1
#define LWIP_NO_UNISTD_H 1
#define LWIP_NO_LIMITS_H 0
#define LWIP_NO_CTYPE_H 1
#define X8_F "x"
#define U16_F "u"
#define S16_F "d"
#define X16_F "x"
#define U32_F "u"
#define S32_F "d"
#define X32_F "x"
#define SZT_F "u"
#define LWIP_RAND() port_random()
#define LWIP_PLATFORM_DIAG(x) ((void)0)
#define LWIP_PLATFORM_ASSERT(x) die("lwIP: %s", x)
