// SPDX-License-Identifier: Apache-2.0
//! A program of a few instructions that executes another one.
//!
//! Until a program is replaced, `/proc/self/exe` leads to its file, and the kernel follows that link wherever a name
//! brings it there: as the program, the interpreter of a script, a loader. Whoever executes something under names that
//! are not to be trusted, and must not be found there himself, executes this first: what is found then is this.
//!
//! Its arguments are the path of the program, and the program's own arguments from the name on. [`FD`] is closed when
//! the program runs; if it does not, the negative errno is written there, in 8 bytes, and the exit code is 127.

use std::os::fd::RawFd;

/// The descriptor on which a failure is told.
pub const FD: RawFd = 3;

// The stack of a new program: the number of arguments, their pointers, a null, those of the environment. `fcntl(FD,
// F_SETFD, FD_CLOEXEC)`, `execve`, and after either has failed `write(FD, &errno, 8)` and `exit_group(127)`.
#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    r#"
    .pushsection .rodata.bryo_trampoline, "a", @progbits
    .hidden bryo_trampoline
    .globl bryo_trampoline
bryo_trampoline:
    mov edi, 3
    mov esi, 2
    mov edx, 1
    mov eax, 72
    syscall
    test rax, rax
    jnz 1f
    mov rcx, [rsp]
    mov rdi, [rsp + 8]
    lea rsi, [rsp + 16]
    lea rdx, [rsp + 8 * rcx + 16]
    mov eax, 59
    syscall
1:  push rax
    mov edi, 3
    mov rsi, rsp
    mov edx, 8
    mov eax, 1
    syscall
    mov edi, 127
    mov eax, 231
    syscall
    hlt
    .hidden bryo_trampoline_end
    .globl bryo_trampoline_end
bryo_trampoline_end:
    .popsection
    "#
);

#[cfg(target_arch = "aarch64")]
core::arch::global_asm!(
    r#"
    .pushsection .rodata.bryo_trampoline, "a", @progbits
    .balign 4
    .hidden bryo_trampoline
    .globl bryo_trampoline
bryo_trampoline:
    mov x0, #3
    mov x1, #2
    mov x2, #1
    mov x8, #25
    svc #0
    cbnz x0, 1f
    ldr x3, [sp]
    ldr x0, [sp, #8]
    add x1, sp, #16
    add x2, x1, x3, lsl #3
    mov x8, #221
    svc #0
1:  str x0, [sp, #-16]!
    mov x1, sp
    mov x0, #3
    mov x2, #8
    mov x8, #64
    svc #0
    mov x0, #127
    mov x8, #94
    svc #0
    brk #0
    .hidden bryo_trampoline_end
    .globl bryo_trampoline_end
bryo_trampoline_end:
    .popsection
    "#
);

/// `e_machine` of `elf(5)`.
#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
/// `e_machine` of `elf(5)`.
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// Returns the program, as the content of a file. Source: `elf(5)`.
pub fn program() -> Vec<u8> {
    /// Where it is in memory: above what `vm.mmap_min_addr` may keep free.
    const BASE: u64 = 0x40_0000;
    /// The size of the header of a file and of a segment.
    const HEADERS: (u16, u16) = (64, 56);
    let text = u64::from(HEADERS.0) + 2 * u64::from(HEADERS.1);
    let size = text + instructions().len() as u64;
    // 64 bits, this machine's order, version 1; then a program, for this machine.
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0".to_vec();
    file.extend(MACHINE.to_le_bytes());
    file.extend(1_u32.to_le_bytes());
    for word in [BASE + text, u64::from(HEADERS.0), 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    for half in [HEADERS.0, HEADERS.1, 2, 0, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    // All of the file, to be read and executed; and a stack that is not executed.
    for (kind, flags, address, length) in [(1_u32, 5_u32, BASE, size), (0x6474_e551, 6, 0, 0)] {
        file.extend([kind, flags].into_iter().flat_map(u32::to_le_bytes));
        file.extend([0, address, address, length, length, 0x1000].into_iter().flat_map(u64::to_le_bytes));
    }
    file.extend(instructions());
    file
}

fn instructions() -> &'static [u8] {
    unsafe extern "C" {
        static bryo_trampoline: u8;
        static bryo_trampoline_end: u8;
    }
    let (start, end) = (&raw const bryo_trampoline, &raw const bryo_trampoline_end);
    // SAFETY: both name places in one constant section, the second behind the first, and all between them is there.
    unsafe { std::slice::from_raw_parts(start, end.addr() - start.addr()) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::process::{Command, Output};

    use super::*;

    /// Runs it with a name in place of its own, and its descriptor as given to the shell.
    fn run(words: &str) -> Output {
        let dir = std::env::temp_dir().join(format!("bryo-trampoline-{}-{}", std::process::id(), words.len()));
        std::fs::create_dir_all(&dir).unwrap();
        let (file, out) = (dir.join("t"), dir.join("out"));
        std::fs::write(&file, program()).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o111)).unwrap();
        let script = words.replace("TRAMPOLINE", file.to_str().unwrap()).replace("OUT", out.to_str().unwrap());
        let output = Command::new("bash").args(["-c", &script]).env_clear().env("WORD", "kept").output().unwrap();
        std::fs::remove_dir_all(dir).unwrap();
        output
    }

    #[test]
    fn the_program_gets_its_arguments_and_its_environment_and_no_more() {
        let output =
            run("exec -a /bin/sh TRAMPOLINE name -c 'echo $0 $1 $WORD; test -e /proc/self/fd/3' zero one 3>OUT");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "zero one kept\n");
        assert_eq!(output.status.code(), Some(1), "its descriptor is closed");
    }

    #[test]
    fn a_failure_is_told_by_its_errno() {
        let output = run("(exec -a /no/such/program TRAMPOLINE name 3>OUT); echo $?; cat OUT");
        let told = [&b"127\n"[..], &(-2_i64).to_ne_bytes()].concat();
        assert_eq!(output.stdout, told);
    }

    #[test]
    fn without_its_descriptor_it_executes_nothing() {
        let output = run("exec -a /bin/echo TRAMPOLINE name text 3>&-");
        assert_eq!((output.status.code(), &output.stdout[..]), (Some(127), &b""[..]));
    }

    #[test]
    fn executed_by_itself_it_comes_to_an_end() {
        let output = run("exec -a TRAMPOLINE TRAMPOLINE TRAMPOLINE TRAMPOLINE 3>OUT");
        assert_eq!(output.status.code(), Some(127));
    }
}
