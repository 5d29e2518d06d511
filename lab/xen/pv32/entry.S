// What Xen's domain builder reads (ELF notes, see xen/elfnote.h), and the first instructions.
#define __ASSEMBLY__
#include <xen/elfnote.h>

.macro NOTE_TEXT type, text
  .long 4, 2f - 1f, \type
  .asciz "Xen"
1: .asciz "\text"
2: .balign 4
.endm
.macro NOTE_NUMBER type, value
  .long 4, 4, \type
  .asciz "Xen"
  .long \value
.endm

.section .note.Xen, "a", @note
  NOTE_TEXT XEN_ELFNOTE_GUEST_OS, "remus-pv32"
  NOTE_TEXT XEN_ELFNOTE_GUEST_VERSION, "1"
  NOTE_TEXT XEN_ELFNOTE_XEN_VERSION, "xen-3.0"
  NOTE_TEXT XEN_ELFNOTE_LOADER, "generic"
  NOTE_TEXT XEN_ELFNOTE_PAE_MODE, "yes"
  NOTE_TEXT XEN_ELFNOTE_FEATURES, "!writable_page_tables|pae_pgdir_above_4gb"
  NOTE_NUMBER XEN_ELFNOTE_VIRT_BASE, 0xc0000000
  NOTE_NUMBER XEN_ELFNOTE_PADDR_OFFSET, 0
  NOTE_NUMBER XEN_ELFNOTE_ENTRY, entry
  NOTE_NUMBER XEN_ELFNOTE_HYPERCALL_PAGE, hypercall_page

.section .text.entry, "ax", @progbits
.globl entry
entry:                      // esi: the start-of-day page
  movl $stack_end, %esp
  xorl %ebp, %ebp
  pushl %ebp
  pushl %ebp
  pushl %ebp
  pushl %esi
  call guest_main
1: jmp 1b

.text
.balign 4096
.globl hypercall_page
hypercall_page:             // filled in by Xen
  .skip 4096

.bss
.balign 4096
  .skip 65536
stack_end:
