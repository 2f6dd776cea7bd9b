# Arithmetic, arrays, string lengths, pattern matching. N is the number of rounds.
t=0
for ((i = 0; i < N; i++)); do
    x=$(((i * 7919) % 1013))
    a[$((x % 64))]=$x
    if ((x & 1)); then
        t=$((t + x))
    else
        s="w$x"
        t=$((t + ${#s}))
    fi
    case $x in
    *7) t=$((t - 1)) ;;
    1*) ((t += 2)) ;;
    esac
done
echo $t
