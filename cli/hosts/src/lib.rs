//! Hosts on one machine: namespaces, bridges, power through an embedded BMC.
