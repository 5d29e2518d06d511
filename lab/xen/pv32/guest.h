// The test guest's parts, from the lowest up. One thread, no interrupts: events are asked for (SCHEDOP_poll), never delivered.
#pragma once
#include "xen.h"

// text.c: the few functions of C's library that are needed, and messages to the console.
void say(const char* format, ...) __attribute__((format(printf, 1, 2)));
/// Says what is wrong, and crashes the domain.
void die(const char* format, ...) __attribute__((format(printf, 1, 2), noreturn));
int format_text(char* out, size_t bytes, const char* format, ...) __attribute__((format(printf, 3, 4)));
uint32_t number_in(const char* text);

// memory.c: machine frames. All of the guest lies in one piece at GUEST_BASE, mapped by the domain builder; what is to be
// seen of Xen is mapped in place of pages of its own.
#define GUEST_BASE 0xc0000000UL
extern struct start_info* start;
extern struct shared_info* shared;
void memory_open(struct start_info* info);
unsigned long frame_of(const void* address);
void* page_at(unsigned long mfn);  ///< a page of the guest, where it is mapped
void map_frame(void* page, unsigned long mfn);
void map_own(void* page);
void memory_suspend(void);
void memory_resume(bool elsewhere);
/// Makes a page table of a spare page, and a page of it again: what a guest with processes does all the time.
void memory_churn(void);

// events.c, clock.c
evtchn_port_t event_listen(domid_t other);
bool event_taken(evtchn_port_t port);
void event_send(evtchn_port_t port);
/// Waits for an event of any of the ports, until clock_ns() is `until`.
void event_wait(const evtchn_port_t* ports, unsigned count, uint64_t until_ns);
uint64_t clock_ns(void);                   ///< goes on where it was, on whatever host
uint64_t clock_xen_ns(uint64_t clock_ns);  ///< the host's, for Xen
void clock_resume(uint64_t was_ns);
uint64_t clock_tsc(void);

// console.c
void console_open(void);
void console_write(const char* text, size_t bytes);

// xenstore.c: paths are relative to the domain's own.
void store_open(void);
evtchn_port_t store_port(void);
bool store_read(const char* path, char* out, size_t bytes);
void store_write(const char* path, unsigned value);
void store_watch(const char* path, const char* token);
/// Takes what is asked of the guest in control/shutdown: "suspend", "poweroff", "" ...
void store_take_request(char* out, size_t bytes);
/// Whether a watch has fired since the last call.
bool store_changed(void);

// grants.c
enum { GRANT_FIRST = 8, GRANT_TX = 16, GRANT_RX = 128, GRANT_MAX = 512 };
void grants_open(void);
void grants_suspend(void);
void grants_resume(void);
void grant(unsigned reference, domid_t other, const void* page, bool read_only);

// net_front.c: the network interface, net.c: lwIP on it.
void front_open(void (*receive)(const void* frame, size_t bytes));
evtchn_port_t front_port(void);
void front_mac(uint8_t mac[6]);
bool front_send(void (*copy)(void* frame, void* context), void* context, size_t bytes);
bool front_poll(void);       ///< true if the interface has just been connected
void front_look(void);       ///< at the backend, when xenstore has changed
void front_reconnect(void);  ///< on another host
void net_open(const char* arguments);
void net_poll(void);
uint64_t net_next_ns(void);

// stream.c, shell.c: what it serves.
void stream_open(void);
void stream_poll(void);
uint64_t stream_next_ns(void);
void shell_open(void);
extern volatile uint32_t counter;
extern unsigned suspends, moves, suspends_by_event;
