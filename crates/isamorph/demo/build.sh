#!/bin/sh
# Makes the demo's guest program: build.sh OUTPUT
set -eu
exec i686-linux-gnu-gcc -std=c11 -O2 -march=pentium4 -mfpmath=sse -Wall -Wextra -Werror \
    -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none -fno-asynchronous-unwind-tables \
    -nostdlib -static -no-pie -Wl,--build-id=none -Wl,-z,noexecstack \
    "$(dirname "$0")/demo.c" -o "$1"
