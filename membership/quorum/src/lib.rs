//! Vote counting in the manner of votequorum, as a pure function of the view.
