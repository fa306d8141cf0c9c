# The guest that decides whether an accelerator works. It lies in the last 4 KiB of the address space's first MiB, where
# the firmware would; it goes the way every kernel goes (real mode, page tables, long mode), uses an interrupt gate, SSE
# and, where the processor has it, BMI2, then works for a while in registers and memory and reports 33 to isa-debug-exit
# (QEMU ends with status 33 * 2 + 1 = 67). Anything that does not work ends in a triple fault or in no answer.
#
#   as --64 probe.S -o probe.o && ld -Ttext=0xff000 --oformat binary -o probe.bin probe.o     (4096 bytes)

        .code16
        .globl _start
_start: cli
        xorw    %ax, %ax
        movw    %ax, %ds
        movw    %ax, %es
        # Page tables at 0x1000, 0x2000, 0x3000: the first 2 MiB, mapped to themselves.
        movl    $0x2003, 0x1000
        movl    $0x3003, 0x2000
        movl    $0x0083, 0x3000
        movl    $0x1000, %eax
        movl    %eax, %cr3
        # PAE, OSFXSR, OSXMMEXCPT.
        movl    $0x620, %eax
        movl    %eax, %cr4
        # EFER.LME
        movl    $0xc0000080, %ecx
        rdmsr
        orl     $0x100, %eax
        wrmsr
        lgdtl   %cs:(gdt_pointer - _start + 0xf000)
        movl    $0x80000023, %eax
        movl    %eax, %cr0
        ljmpl   $8, $long

        .code64
long:   movl    $16, %eax
        movl    %eax, %ds
        movl    %eax, %es
        movl    %eax, %ss
        movl    $0x8000, %esp
        # An interrupt gate for vector 0x20 in a table at 0x4000.
        leaq    handler(%rip), %rax
        movl    $0x4200, %edi
        movw    %ax, (%rdi)
        movw    $8, 2(%rdi)
        movw    $0x8e00, 4(%rdi)
        shrq    $16, %rax
        movw    %ax, 6(%rdi)
        movl    $0, 8(%rdi)
        lidt    idt_pointer(%rip)
        xorl    %ebx, %ebx
        int     $0x20
        cmpl    $0x600d, %ebx
        jne     bad
        # SSE2.
        movl    $7, %eax
        movd    %eax, %xmm0
        paddq   %xmm0, %xmm0
        movd    %xmm0, %eax
        cmpl    $14, %eax
        jne     bad
        # BMI2, as early boot code does when the processor says that it may.
        movl    $7, %eax
        xorl    %ecx, %ecx
        cpuid
        btl     $8, %ebx
        jnc     work
        movl    $3, %ecx
        movl    $5, %eax
        shlxq   %rcx, %rax, %rax
        cmpl    $40, %eax
        jne     bad
work:   movl    $ROUNDS, %ecx
        xorl    %eax, %eax
1:      addl    %ecx, %eax
        movl    %eax, 0x5000
        roll    $3, %eax
        xorl    0x5000, %eax
        decl    %ecx
        jnz     1b
        movl    $33, %eax
        movw    $0xf4, %dx
        outb    %al, %dx
bad:    hlt
        jmp     bad

handler:
        movl    $0x600d, %ebx
        iretq

        .balign 8
gdt:    .quad   0
        .quad   0x00af9b000000ffff
        .quad   0x00cf93000000ffff
gdt_pointer:
        .word   23
        .long   gdt
idt_pointer:
        .word   0x20f
        .quad   0x4000

        .org    0xff0
        .code16
        ljmpw   $0xf000, $0xf000
        .org    0x1000
        .set    ROUNDS, 20000000
