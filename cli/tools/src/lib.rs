//! Pacemaker's and Corosync's tools under their own names.
