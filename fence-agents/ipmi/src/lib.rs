//! IPMI 2.0 over RMCP+: session, client, embedded BMC, and the fence agent.
