//! What is sent to both devices. Each request goes on a connection of its own.

/// One request.
pub struct Step {
    pub request: &'static str,
    /// Our answer and wireguard-go's, where they differ on purpose.
    pub differs: Option<(&'static str, &'static str)>,
}

const fn same(request: &'static str) -> Step {
    Step { request, differs: None }
}

const fn differs(request: &'static str, ours: &'static str, go: &'static str) -> Step {
    Step {
        request,
        differs: Some((ours, go)),
    }
}

const OK: &str = "errno=0\n\n";
const EINVAL: &str = "errno=-22\n\n";

/// A private key as `wg genkey` makes them, and its public key.
macro_rules! private {
    () => {
        "38e85bd5c7a05fb9a98065e5d06d3a734a7c68b5474f70b49ea8dba68788637f"
    };
}
macro_rules! public {
    () => {
        "2c106ec551b64c5ebb564d0b34062e39364359dc6d9342ef3417a88f5217350b"
    };
}
macro_rules! a {
    () => {
        "b85996fecc9c7f1fc6d2572a76eda11d59bcd20be8e543b15ce4bd85a8e75a33"
    };
}
macro_rules! b {
    () => {
        "58402e695ba1772b1cc9309755f043251ea77fdcf10fbe63989ceb7e19321376"
    };
}
macro_rules! psk {
    () => {
        "188515093e952f5f22e865cef3012e72f8b5f0b598ac0309d5dacce3b70fcf52"
    };
}
macro_rules! zero {
    () => {
        "0000000000000000000000000000000000000000000000000000000000000000"
    };
}
macro_rules! set {
    ($($line:expr),* $(,)?) => { concat!("set=1\n", $($line, "\n",)* "\n") };
}

/// Title and requests.
pub const SCRIPTS: &[(&str, &[Step])] = &[
    (
        "the device's own values",
        &[
            same(set!(concat!("private_key=", private!()))),
            same(set!("listen_port=4001")),
            same(set!("listen_port=4001")),
            same(set!("fwmark=4294967295")),
            same(set!("fwmark=0")),
            same(set!("fwmark=16", "listen_port=4002", concat!("private_key=", private!()))),
            same(set!(concat!("private_key=", zero!()))),
            same(set!()),
            same("get=1\n\n"),
        ],
    ),
    (
        "a key is shown as it is used: clamped",
        &[
            // RFC 7748, section 5.
            same(set!(
                "private_key=ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
            )),
            same(set!(
                "private_key=FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"
            )),
        ],
    ),
    (
        "a peer's values",
        &[
            same(set!(concat!("public_key=", a!()))),
            same(set!(
                concat!("public_key=", a!()),
                concat!("preshared_key=", psk!()),
                "endpoint=10.0.0.9:5",
                "persistent_keepalive_interval=25",
                "replace_allowed_ips=true",
                "allowed_ip=10.1.2.3/16",
                "allowed_ip=fd00::1/64",
                "protocol_version=1",
            )),
            same(set!(concat!("public_key=", a!()), "allowed_ip=0.0.0.0/0", "allowed_ip=::/0")),
            same(set!(concat!("public_key=", a!()), "endpoint=[fd00::7]:65535")),
            same(set!(concat!("public_key=", a!()), "persistent_keepalive_interval=0")),
            same(set!(concat!("public_key=", a!()), "persistent_keepalive_interval=65535")),
            same(set!(concat!("public_key=", a!()), concat!("preshared_key=", zero!()))),
            same(set!(concat!("public_key=", a!()), "replace_allowed_ips=true")),
            same(set!(concat!("public_key=", a!()), "remove=true")),
            same(set!(concat!("public_key=", a!()), "remove=true")),
        ],
    ),
    (
        "several peers, and peers that are not there",
        &[
            same(set!(
                concat!("public_key=", a!()),
                "allowed_ip=10.1.0.0/24",
                concat!("public_key=", b!()),
                "allowed_ip=10.2.0.0/24",
            )),
            // It moves to the one that was named last.
            same(set!(concat!("public_key=", b!()), "allowed_ip=10.1.0.0/24")),
            same(set!(
                concat!("public_key=", a!()),
                "update_only=true",
                "allowed_ip=10.3.0.0/24"
            )),
            same(set!(concat!("public_key=", b!()), "remove=true", "allowed_ip=10.4.0.0/24")),
            same(set!(
                concat!("public_key=", b!()),
                "update_only=true",
                "allowed_ip=10.4.0.0/24"
            )),
            same(set!(concat!("public_key=", b!()), "update_only=true", "remove=true")),
            same(set!(
                "replace_peers=true",
                concat!("public_key=", b!()),
                "allowed_ip=10.5.0.0/24"
            )),
            // The same one twice.
            same(set!(
                concat!("public_key=", b!()),
                "replace_allowed_ips=true",
                "allowed_ip=10.6.0.0/24",
                concat!("public_key=", b!()),
                "allowed_ip=10.7.0.0/24",
            )),
            same(set!("replace_peers=true")),
        ],
    ),
    (
        "a device is not its own peer",
        &[
            same(set!(
                concat!("public_key=", public!()),
                "allowed_ip=10.1.0.0/24",
                concat!("public_key=", a!())
            )),
            same(set!(concat!("private_key=", private!()))),
            same(set!(concat!("public_key=", public!()), "allowed_ip=10.1.0.0/24")),
            same(set!(concat!("public_key=", public!()), "remove=true")),
        ],
    ),
    (
        "values that are refused",
        &[
            same(set!("listen_port=65536")),
            same(set!("listen_port=-1")),
            same(set!("listen_port=+5")),
            same(set!("listen_port=")),
            same(set!("fwmark=4294967296")),
            same(set!("fwmark=0x10")),
            same(set!("fwmark=")),
            same(set!("private_key=00")),
            same(set!("private_key=")),
            same(set!(concat!("private_key=", private!(), "00"))),
            same(set!(
                "private_key=xyzzyxyzzyxyzzyxyzzyxyzzyxyzzyxyzzyxyzzyxyzzyxyzzyxyzzyxyzzyxyzz"
            )),
            same(set!("replace_peers=false")),
            same(set!("replace_peers=1")),
            same(set!("public_key=00")),
            same(set!("colour=blue")),
            same(set!("endpoint=10.0.0.1:1")),
            same(set!("protocol_version=1")),
            same(set!("fwmark")),
            same("get=1\nfwmark=1\n\n"),
        ],
    ),
    (
        // wireguard-go has made the peer by then; we change nothing. Its answer is the same.
        "values of a peer that are refused",
        &[
            differs(set!(concat!("public_key=", a!()), "preshared_key=00"), EINVAL, EINVAL),
            differs(set!(concat!("public_key=", a!()), "endpoint=10.0.0.1"), EINVAL, EINVAL),
            differs(set!(concat!("public_key=", a!()), "endpoint=host:1"), EINVAL, EINVAL),
            differs(set!(concat!("public_key=", a!()), "endpoint=fd00::1:1"), EINVAL, EINVAL),
            differs(set!(concat!("public_key=", a!()), "endpoint=10.0.0.1:65536"), EINVAL, EINVAL),
            differs(set!(concat!("public_key=", a!()), "endpoint="), EINVAL, EINVAL),
            differs(
                set!(concat!("public_key=", a!()), "persistent_keepalive_interval=65536"),
                EINVAL,
                EINVAL,
            ),
            differs(
                set!(concat!("public_key=", a!()), "persistent_keepalive_interval=off"),
                EINVAL,
                EINVAL,
            ),
            differs(set!(concat!("public_key=", a!()), "allowed_ip=10.0.0.0"), EINVAL, EINVAL),
            differs(set!(concat!("public_key=", a!()), "allowed_ip=10.0.0.0/33"), EINVAL, EINVAL),
            differs(set!(concat!("public_key=", a!()), "allowed_ip=fd00::/129"), EINVAL, EINVAL),
            differs(set!(concat!("public_key=", a!()), "allowed_ip="), EINVAL, EINVAL),
            differs(set!(concat!("public_key=", a!()), "replace_allowed_ips=yes"), EINVAL, EINVAL),
            differs(set!(concat!("public_key=", a!()), "update_only=false"), EINVAL, EINVAL),
            differs(set!(concat!("public_key=", a!()), "remove=false"), EINVAL, EINVAL),
            differs(set!(concat!("public_key=", a!()), "protocol_version=2"), EINVAL, EINVAL),
            differs(set!(concat!("public_key=", a!()), "listen_port=1"), EINVAL, EINVAL),
            differs(
                set!(concat!("public_key=", a!()), "nothing"),
                "errno=-71\n\n",
                "errno=-71\n\n",
            ),
        ],
    ),
    (
        // wireguard-go learnt this after the version that Debian 12 has.
        "an allowed IP is taken away",
        &[
            same(set!(
                concat!("public_key=", a!()),
                "allowed_ip=10.1.0.0/24",
                "allowed_ip=fd01::/64"
            )),
            differs(set!(concat!("public_key=", a!()), "allowed_ip=-10.1.0.0/24"), OK, EINVAL),
            differs(
                "get=1\n\n",
                concat!(
                    "listen_port=4000\npublic_key=",
                    a!(),
                    "\npreshared_key=",
                    zero!(),
                    "\nprotocol_version=1\npersistent_keepalive_interval=0\nallowed_ip=fd01::/64\nerrno=0\n\n"
                ),
                concat!(
                    "listen_port=4000\npublic_key=",
                    a!(),
                    "\npreshared_key=",
                    zero!(),
                    "\nprotocol_version=1\npersistent_keepalive_interval=0\nallowed_ip=10.1.0.0/24\nallowed_ip=fd01::/64\nerrno=0\n\n"
                ),
            ),
        ],
    ),
];
