"""Run a program without AMX on a processor that has it: `python without_amx.py PROGRAM [ARGUMENT ...]`.

Linux lets a process use the tiles of AMX only after it asked. Here a filter of system calls answers with EPERM, so the
program and all that it starts must do without, natively: this is a processor with AVX-512 and nothing newer.
"""

import ctypes
import os
import struct
import sys

_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, _PR_SET_NO_NEW_PRIVS = 22, 2, 38  # prctl(2)
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # of a filter: BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ, BPF_RET
_NUMBER, _FIRST_ARGUMENT = 0, 16  # where the filter finds them. Source: struct seccomp_data, seccomp(2)
_ALLOW, _EPERM = 0x7FFF0000, 0x00050001  # SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO | EPERM
_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM = 158, 0x1023  # Source: Linux, Documentation/arch/x86/xstate.rst

_STEPS = (  # code, how many steps to skip if equal and if not, value
    (_LOAD, 0, 0, _NUMBER),
    (_JUMP_IF_EQUAL, 0, 3, _ARCH_PRCTL),
    (_LOAD, 0, 0, _FIRST_ARGUMENT),
    (_JUMP_IF_EQUAL, 0, 1, _ARCH_REQ_XCOMP_PERM),
    (_RETURN, 0, 0, _EPERM),
    (_RETURN, 0, 0, _ALLOW),
)


class _Filter(ctypes.Structure):
    _fields_ = (("steps", ctypes.c_ushort), ("filter", ctypes.c_void_p))  # struct sock_fprog


def main(command: list[str]) -> None:
    """Run a command in place of this process."""
    steps = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in _STEPS))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for arguments in (
        (_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0),
        (_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.byref(_Filter(len(_STEPS), ctypes.addressof(steps))), 0, 0),
    ):
        if prctl(*arguments) != 0:
            raise OSError(ctypes.get_errno(), f"prctl: {os.strerror(ctypes.get_errno())}")
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
