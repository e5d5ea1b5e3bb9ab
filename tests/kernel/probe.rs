//! A kernel that lacks something, and a process that may not.

use homeward::kernel::Linux;
use homeward::real_kernel_test;

use crate::support::*;

/// Loads no modules any more.
fn without_modules() {
    std::fs::write("/proc/sys/kernel/modprobe", "/bin/false").unwrap();
}

fn message() -> String {
    Linux::probe().err().unwrap().to_string()
}

real_kernel_test!(a_kernel_without_esp_for_ipv6_is_told_so, {
    let loader = std::fs::read_to_string("/proc/sys/kernel/modprobe").unwrap();
    without_modules();
    let first = message();
    assert!(first.contains("CONFIG_XFRM_USER") || first.contains("CONFIG_IPV6_MIP6"), "{first}");
    // All that IPv4 needs of IPsec.
    std::fs::write("/proc/sys/kernel/modprobe", loader.trim()).unwrap();
    ip("xfrm state add src 192.0.2.1 dst 192.0.2.2 proto esp spi 0x1 mode tunnel \
        aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128");
    ip("-6 xfrm state add src 2001:db8:1::2 dst 2001:db8:1::1 proto hao mode ro coa 2001:db8:b::7");
    without_modules();
    let then = message();
    assert!(then.contains("CONFIG_INET6_ESP"), "{then}");
    assert!(then.contains("load the module esp6"), "{then}");
});

real_kernel_test!(a_kernel_without_mobile_ipv6_is_told_so, {
    let bed = Bed::new();
    bed.node
        .enter(|| {
            ip("-6 xfrm state add src 2001:db8:a::7 dst 2001:db8:1::1 proto esp spi 0x1 mode tunnel \
            aead rfc4106(gcm(aes)) 0x000102030405060708090a0b0c0d0e0f10111213 128");
            ip("-6 xfrm state add src 2001:db8:1::1 dst 2001:db8:a::7 proto esp spi 0x2 mode tunnel \
            auth-trunc hmac(sha256) 0x000102030405060708090a0b0c0d0e0f000102030405060708090a0b0c0d0e0f 128 \
            enc cbc(aes) 0x000102030405060708090a0b0c0d0e0f");
            let before = (ip("xfrm state list"), ip("xfrm policy list"));
            without_modules();
            let message = message();
            assert!(message.contains("CONFIG_IPV6_MIP6"), "{message}");
            assert!(message.contains("load the module mip6"), "{message}");
            // What was tried is gone.
            assert_eq!((ip("xfrm state list"), ip("xfrm policy list")), before);
        })
        .unwrap();
});

real_kernel_test!(a_process_that_may_not_is_told_in_one_line, {
    nix::unistd::seteuid(nix::unistd::Uid::from_raw(65534)).unwrap();
    let message = message();
    nix::unistd::seteuid(nix::unistd::Uid::from_raw(0)).unwrap();
    assert!(message.contains("run it as root, or with CAP_NET_ADMIN"), "{message}");
    assert!(!message.contains('\n'));
});

real_kernel_test!(a_kernel_with_everything_is_left_as_it_was, {
    let bed = Bed::new();
    bed.unchanged(|_| Linux::probe().unwrap());
    // The journal goes with it.
    assert!(!journal("node").exists());
});
