"""Run a program and say what it used: `python -I -S used.py PROGRAM...`, a small process, so that it hides nothing.

A new process counts the memory of the one that started it as its own peak: 100 MiB if that is a benchmark. Writes the
program's process id on one line, and when it has ended its status, processor seconds and KiB of memory on another; what
the program itself prints goes to stderr.
"""

import os
import sys

if __name__ == "__main__":
    child = os.fork()
    if child == 0:
        os.setsid()
        os.dup2(2, 1)
        os.execvp(sys.argv[1], sys.argv[1:])
    os.write(1, b"%d\n" % child)
    _, status, used = os.wait4(child, 0)
    words = (os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss)
    os.write(1, " ".join(map(str, words)).encode() + b"\n")
