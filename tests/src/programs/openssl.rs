//! OpenSSL: hand-written assembly for many processors, big numbers, and keys that have to fit each other.

// tidy: table
use super::Case;

const fn openssl(name: &'static str, args: &'static [&'static str]) -> Case {
    Case::new(name, "openssl", args)
}

const fn bash(name: &'static str, text: &'static str) -> Case {
    Case::script(name, "bash", &["-c"], text)
}

/// The commands.
pub const CASES: &[Case] = &[
    openssl("version", &["version"]),
    openssl("md5", &["dgst", "-md5", "data.bin"]),
    openssl("sha1", &["dgst", "-sha1", "data.bin"]),
    openssl("sha256", &["dgst", "-sha256", "data.bin"]),
    openssl("sha512", &["dgst", "-sha512", "data.bin"]),
    openssl("sha3", &["dgst", "-sha3-256", "data.bin"]),
    openssl("blake2", &["dgst", "-blake2b512", "data.bin"]),
    openssl("hmac", &["dgst", "-sha256", "-hmac", "secret", "data.bin"]),
    openssl("cmac", &["mac", "-cipher", "AES-128-CBC", "-macopt", "hexkey:000102030405060708090a0b0c0d0e0f", "-in", "words.txt", "CMAC"]),
    openssl("aes_cbc", &["enc", "-aes-128-cbc", "-K", "00112233445566778899aabbccddeeff", "-iv", "0f0e0d0c0b0a09080706050403020100", "-in", "data.bin"]),
    openssl("aes_ctr", &["enc", "-aes-256-ctr", "-K", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", "-iv", "0f0e0d0c0b0a09080706050403020100", "-in", "data.bin"]),
    openssl("chacha20", &["enc", "-chacha20", "-K", "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff", "-iv", "0f0e0d0c0b0a09080706050403020100", "-in", "data.bin"]),
    openssl("camellia", &["enc", "-camellia-192-cbc", "-K", "00112233445566778899aabbccddeeff0011223344556677", "-iv", "0f0e0d0c0b0a09080706050403020100", "-in", "words.txt"]),
    openssl("des3", &["enc", "-des-ede3-cbc", "-K", "0123456789abcdef23456789abcdef01456789abcdef0123", "-iv", "0102030405060708", "-in", "words.txt"]),
    openssl("base64", &["enc", "-base64", "-in", "numbers.txt"]),
    openssl("pbkdf2", &["enc", "-aes-128-cbc", "-pbkdf2", "-iter", "500", "-S", "0102030405060708", "-pass", "pass:word", "-in", "numbers.txt", "-P"]),
    openssl("scrypt", &["kdf", "-keylen", "32", "-kdfopt", "pass:a", "-kdfopt", "salt:b", "-kdfopt", "n:64", "-kdfopt", "r:8", "-kdfopt", "p:1", "SCRYPT"]),
    openssl("prime", &["prime", "-checks", "5", "170141183460469231731687303715884105727"]),
    openssl("composite", &["prime", "170141183460469231731687303715884105729"]),
    openssl("prime_hex", &["prime", "-hex", "-checks", "3", "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F14374FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7EDEE386BFB5A899FA5AE9F24117C4B1FE649286651ECE65381FFFFFFFFFFFFFFFF"]).heavy(),
    openssl("list", &["list", "-digest-commands"]),
    openssl("error", &["dgst", "-no-such-option"]),
    bash("aes_round_trip", "openssl enc -aes-256-cbc -pbkdf2 -iter 100 -pass pass:x -in data.bin -out e && openssl enc -d -aes-256-cbc -pbkdf2 -iter 100 -pass pass:x -in e | cmp - data.bin && echo same"),
    bash("rsa", "openssl genrsa -out k 768 2>/dev/null && openssl rsa -in k -check -noout && openssl rsa -in k -pubout -out p 2>/dev/null && openssl dgst -sha256 -sign k -out s words.txt && openssl dgst -sha256 -verify p -signature s words.txt").heavy(),
    bash("rsa_encryption", "openssl genrsa -out k 1024 2>/dev/null && echo secret | openssl pkeyutl -encrypt -inkey k -out e && openssl pkeyutl -decrypt -inkey k -in e").heavy(),
    bash("ec", "openssl ecparam -name prime256v1 -genkey -noout -out k && openssl ec -in k -check -noout 2>&1 | tail -1 && openssl ec -in k -pubout -out p 2>/dev/null && openssl dgst -sha256 -sign k -out s words.txt && openssl dgst -sha256 -verify p -signature s words.txt").heavy(),
    bash("ed25519", "openssl genpkey -algorithm ed25519 -out k && openssl pkey -in k -pubout -out p && openssl pkeyutl -sign -inkey k -rawin -in words.txt -out s && openssl pkeyutl -verify -pubin -inkey p -rawin -in words.txt -sigfile s").heavy(),
    bash("x25519", "for n in a b; do openssl genpkey -algorithm x25519 -out $n; openssl pkey -in $n -pubout -out $n.p; done; openssl pkeyutl -derive -inkey a -peerkey b.p | md5sum > 1; openssl pkeyutl -derive -inkey b -peerkey a.p | md5sum > 2; cmp 1 2 && echo agreed").heavy(),
    bash("certificate", "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout k -out c -subj /CN=test -days 9 -config /dev/null 2>/dev/null; openssl x509 -in c -noout -subject && openssl verify -CAfile c c").heavy(),
    bash("random", "openssl rand -hex 16 | tr -d '\\n' | wc -c; openssl rand 1000 | wc -c"),
    bash("asn1", "printf '0\\003\\002\\001\\005' | openssl asn1parse -inform DER"),
];
