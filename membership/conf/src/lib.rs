//! corosync.conf: reader with positions, typed settings, cmap view.
