//! What tools and daemon say to each other: frames, requests, replies, and a blocking client.
