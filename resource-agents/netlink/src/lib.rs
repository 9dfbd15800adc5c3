//! Links, addresses, bridges and veth pairs through rtnetlink, synchronously.
