/*
 * The guest program of `isamorph demo`: a static i386 executable without a C library.
 *
 *   demo [ROUNDS]
 *
 * Draws a picture in double precision, then does ROUNDS equal rounds of what programs are made of: loops over memory,
 * hashing, recursion, calls through a table. Prints a checksum, so that a wrong translation shows.
 *
 * The checked-in `demo.elf` is what `build.sh` makes of this file.
 */

typedef unsigned char u8;
typedef unsigned int u32;

enum { EXIT = 1, WRITE = 4, STDOUT = 1 };
enum { COLUMNS = 64, ROWS = 20, DEPTH = 64 };
enum { NUMBERS = 8192, BYTES = 16384, FIBONACCI = 16, CALLS = 4096 };

static u8 composite[NUMBERS];
static u8 bytes[BYTES];

static int call_kernel(int number, int a, const void *b, u32 c)
{
    int result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}

static void print(const char *text)
{
    u32 length = 0;
    while (text[length])
        length++;
    call_kernel(WRITE, STDOUT, text, length);
}

static void print_number(u32 value, u32 base)
{
    char digits[12];
    char *at = digits + sizeof digits - 1;
    *at = 0;
    do {
        *--at = "0123456789abcdef"[value % base];
        value /= base;
    } while (value);
    print(at);
}

/* How many steps the point takes to leave the circle: the Mandelbrot set. */
static u32 escape_time(double re, double im)
{
    double x = 0, y = 0;
    u32 steps = 0;
    while (steps < DEPTH && x * x + y * y < 4) {
        double next = x * x - y * y + re;
        y = 2 * x * y + im;
        x = next;
        steps++;
    }
    return steps;
}

static void draw(void)
{
    for (int row = 0; row < ROWS; row++) {
        char line[COLUMNS + 2];
        for (int column = 0; column < COLUMNS; column++) {
            u32 steps = escape_time(-2.1 + column * 2.8 / COLUMNS, -1.2 + row * 2.4 / (ROWS - 1));
            line[column] = " .,:;-=+*oO#%@"[steps == DEPTH ? 13 : steps % 13];
        }
        line[COLUMNS] = '\n';
        line[COLUMNS + 1] = 0;
        print(line);
    }
}

/* Counts primes with the sieve of Eratosthenes. */
__attribute__((noinline)) static u32 sieve(void)
{
    u32 primes = 0;
    for (u32 n = 0; n < NUMBERS; n++)
        composite[n] = 0;
    for (u32 n = 2; n < NUMBERS; n++) {
        if (composite[n])
            continue;
        primes++;
        for (u32 multiple = n * n; multiple < NUMBERS; multiple += n)
            composite[multiple] = 1;
    }
    return primes;
}

/* FNV-1a with one rotation more, over bytes that it also changes. */
__attribute__((noinline)) static u32 hash(u32 seed)
{
    u32 h = seed ^ 0x811c9dc5;
    for (u32 i = 0; i < BYTES; i++) {
        h = (h ^ bytes[i]) * 0x01000193;
        h = h << 5 | h >> 27;
        bytes[i] = (u8)h;
    }
    return h;
}

__attribute__((noinline)) static u32 fibonacci(u32 n)
{
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static u32 twist(u32 x) { return x ^ x << 13; }
static u32 turn(u32 x) { return x << 7 | x >> 25; }
static u32 grow(u32 x) { return x * 5 + 0x1234567; }
static u32 fold(u32 x) { return x ^ x >> 17; }

static u32 (*const steps[])(u32) = { twist, turn, grow, fold };

/* Calls that only the processor's branch predictor can guess. */
__attribute__((noinline)) static u32 walk(u32 x)
{
    for (u32 i = 0; i < CALLS; i++)
        x = steps[(x >> 9) % 4](x);
    return x;
}

static u32 number(const char *text)
{
    u32 value = 0;
    while (*text >= '0' && *text <= '9')
        value = value * 10 + (u32)(*text++ - '0');
    return value;
}

/* `stack` is what the kernel left: argc, argv. */
__attribute__((used, noreturn)) void start(char **stack)
{
    u32 rounds = (u32)stack[0] > 1 ? number(stack[2]) : 1;
    u32 sum = 0;
    draw();
    for (u32 round = 0; round < rounds; round++)
        sum = walk(hash(sum)) + sieve() + fibonacci(FIBONACCI);
    print_number(rounds, 10);
    print(rounds == 1 ? " round, checksum " : " rounds, checksum ");
    print_number(sum, 16);
    print("\n");
    for (;;)
        call_kernel(EXIT, 0, 0, 0);
}

__asm__(".globl _start\n"
        ".type _start, @function\n"
        "_start:\n"
        "    xorl %ebp, %ebp\n"
        "    movl %esp, %eax\n"
        "    andl $-16, %esp\n"
        "    subl $12, %esp\n"
        "    pushl %eax\n"
        "    call start\n"
        ".size _start, . - _start\n");
