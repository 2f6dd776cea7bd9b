"""Recursion, dictionaries, objects, strings, comprehensions. The argument is the number of rounds."""
import sys


def queens(n, c=0, l=0, r=0):
    full = (1 << n) - 1
    if c == full:
        return 1
    s = 0
    p = full & ~(c | l | r)
    while p:
        b = p & -p
        p ^= b
        s += queens(n, c | b, (l | b) << 1, (r | b) >> 1)
    return s


class Vector:
    __slots__ = ("x", "y")

    def __init__(self, x, y):
        self.x = x
        self.y = y

    def add(self, other):
        return Vector(self.x + other.x, self.y * 0.5 + other.y)


def main(n):
    t = 0
    for k in range(n):
        t += queens(7)
        d = {}
        for i in range(4000):
            w = "w%d" % (i * 7 % 1013)
            d[w] = d.get(w, 0) + i
        t += sum(sorted(d.values())[:10])
        v = Vector(0.0, 1.0)
        for i in range(4000):
            v = v.add(Vector(i, 0.25))
        t += int(v.x) % 97 + len(",".join(map(str, range(1500))).split(","))
        t += sum(i * i for i in range(4000) if i % 3)
    print(t)


main(int(sys.argv[1]))
