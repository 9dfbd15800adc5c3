//! The operator's verbs: systole cluster, status, resource, constraint, stonith, node, property, cib.
