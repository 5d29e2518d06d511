// The few functions of the C library that are needed here, and messages.
#include <stdarg.h>
#include <string.h>

#include "guest.h"

void* memcpy(void* to, const void* from, size_t bytes) {
  void* const out = to;
  __asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes)::"memory");
  return out;
}
void* memset(void* to, int value, size_t bytes) {
  void* const out = to;
  __asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
  return out;
}
void* memmove(void* to, const void* from, size_t bytes) {
  if (to <= from || (char*)to >= (const char*)from + bytes) return memcpy(to, from, bytes);
  for (size_t i = bytes; i-- > 0;) ((char*)to)[i] = ((const char*)from)[i];
  return to;
}
int memcmp(const void* a, const void* b, size_t bytes) {
  const unsigned char *x = a, *y = b;
  for (; bytes > 0; --bytes, ++x, ++y)
    if (*x != *y) return *x - *y;
  return 0;
}
size_t strlen(const char* text) {
  size_t length = 0;
  while (text[length] != 0) ++length;
  return length;
}
int strcmp(const char* a, const char* b) {
  for (; *a != 0 && *a == *b; ++a, ++b) {
  }
  return (unsigned char)*a - (unsigned char)*b;
}
int strncmp(const char* a, const char* b, size_t most) {
  for (; most > 0; --most, ++a, ++b)
    if (*a != *b || *a == 0) return (unsigned char)*a - (unsigned char)*b;
  return 0;
}
char* strstr(const char* text, const char* part) {
  for (const size_t length = strlen(part); *text != 0; ++text)
    if (strncmp(text, part, length) == 0) return (char*)(uintptr_t)text;
  return NULL;
}

uint32_t number_in(const char* text) {
  uint32_t value = 0;
  for (; *text >= '0' && *text <= '9'; ++text) value = value * 10 + (uint32_t)(*text - '0');
  return value;
}

// %s, %u, %x (32 bits), %llu is not needed.
static int format_list(char* out, size_t bytes, const char* format, va_list list) {
  size_t at = 0;
  for (; *format != 0; ++format) {
    char digits[12];
    const char* text = digits;
    size_t length = 1;
    if (*format != '%') {
      digits[0] = *format;
    } else if (*++format == 's') {
      text = va_arg(list, const char*);
      length = strlen(text);
    } else {
      const unsigned base = *format == 'x' ? 16 : 10;
      unsigned value = va_arg(list, unsigned);
      char* first = digits + sizeof digits;
      do *--first = "0123456789abcdef"[value % base];
      while ((value /= base) != 0);
      text = first;
      length = (size_t)(digits + sizeof digits - first);
    }
    for (size_t i = 0; i < length && at + 1 < bytes; ++i) out[at++] = text[i];
  }
  out[at] = 0;
  return (int)at;
}

int format_text(char* out, size_t bytes, const char* format, ...) {
  va_list list;
  va_start(list, format);
  const int length = format_list(out, bytes, format, list);
  va_end(list);
  return length;
}

static void say_list(const char* format, va_list list) {
  char line[256];
  const int length = format_list(line, sizeof line - 2, format, list);
  line[length] = '\r';
  line[length + 1] = '\n';
  console_write(line, (size_t)length + 2);
}

void say(const char* format, ...) {
  va_list list;
  va_start(list, format);
  say_list(format, list);
  va_end(list);
}

void die(const char* format, ...) {
  va_list list;
  va_start(list, format);
  say_list(format, list);
  va_end(list);
  struct sched_shutdown crash = {SHUTDOWN_crash};
  for (;;) sched_op(SCHEDOP_shutdown, &crash, 0);
}
