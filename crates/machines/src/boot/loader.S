# The program that brings a kernel into memory and enters it: an expansion ROM that the firmware boots from, or the
# firmware itself. `loader.rs` has its bytes and fills in the parameters at its end. To assemble it:
#   as --32 loader.S -o loader.o && ld -m elf_i386 -Ttext 0x6000 --oformat binary loader.o -o loader.bin
.code16
.globl _start
_start:	# header of an expansion ROM: signature, length in units of 512 bytes, nothing to initialise
	.word 0xaa55
	.byte 2
	lret
.org 0x18
	.word 0
	.word pnp - _start
pnp:	# Plug and Play BIOS specification 1.0A, 3.2: the firmware can boot from here
	.ascii "$PnP"
	.byte 1, 2
	.word 0
	.byte 0
	.byte 0
	.long 0
	.word maker - _start
	.word product - _start
	.byte 0, 0, 0, 0
	.word 0, 0
	.word bev - _start
	.word 0, 0
maker:	.asciz "Isamorph"
product: .asciz "Linux loader"
.org 0x60
bev:	# run where it is: in a ROM, at any segment
	cli
	cld
	xor %ax, %ax
	mov %ax, %es
	mov %ax, %ss
	mov $0x6000, %sp
	push %cs
	pop %ds
	xor %si, %si
	mov $0x6000, %di
	mov $0x100, %cx
	rep movsl
	ljmp $0, $copied
copied:	# run at 0:6000; fetch everything by fw_cfg's DMA, whose commands are in the table
	xor %ax, %ax
	mov %ax, %ds
	mov $transfers, %si
1:	cmpl $0, (%si)
	je 3f
	xor %eax, %eax
	mov $0x514, %dx
	outl %eax, %dx
	movzwl %si, %eax
	bswap %eax
	mov $0x518, %dx
	outl %eax, %dx
2:	testl $0xfeffffff, (%si)
	jnz 2b
	add $16, %si
	jmp 1b
3:	# ask the firmware for the memory map if the kernel wants it
	mov map_at, %di
	test %di, %di
	jz 6f
	xor %ebx, %ebx
4:	add map_before, %di
	mov $0xe820, %eax
	mov $0x534d4150, %edx
	mov $20, %ecx
	int $0x15
	jc 5f
	add $20, %di
	add map_after, %di
	mov map_count_at, %si
	mov map_unit, %ax
	add %ax, (%si)
	test %ebx, %ebx
	jnz 4b
5:
6:	cli
	cmpb $0, is_protected
	jne 7f
	mov real_segment, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %fs
	mov %ax, %gs
	mov %cs:real_sp, %bx
	mov %ax, %ss
	movzwl %bx, %esp
	ljmp *%cs:real_entry
7:	lgdtl gdt_register
	mov %cr0, %eax
	or $1, %al
	mov %eax, %cr0
	ljmpl $0x10, $protected
.code32
protected:
	mov $0x18, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %fs
	mov %ax, %gs
	mov %ax, %ss
	mov $0x6000, %esp
	mov start_eax, %eax
	mov start_ebx, %ebx
	mov start_esi, %esi
	xor %ebp, %ebp
	xor %edi, %edi
	jmp *start_entry
.balign 8
gdt:	.quad 0, 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdt_register: .word 31
	.long gdt
# parameters
.org 0x180
is_protected: .byte 0
	.byte 0
map_at:	.word 0
map_before: .word 0
map_after: .word 0
map_count_at: .word 0
map_unit: .word 0
real_sp: .word 0
real_entry: .word 0
real_segment_cs: .word 0
real_segment: .word 0
start_eax: .long 0
start_ebx: .long 0
start_esi: .long 0
start_entry: .long 0
.org 0x1c0
transfers:
.org 0x400
