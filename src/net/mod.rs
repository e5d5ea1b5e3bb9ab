//! The sockets: IKE over UDP, Mobility Header, ICMPv6.
