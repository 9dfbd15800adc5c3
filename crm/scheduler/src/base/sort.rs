//! Sorting by comparisons that need not be consistent.
//!
//! Several orders of this field are not total (a pending operation compares equal to some but not
//! to others), so the result depends on the algorithm. This is the plain top-down merge sort over
//! lists, which asks for the same comparisons in the same sequence on every machine, and never
//! panics, whatever it is told.

/// Sorts stably; `cmp` is at most 0 where the first may stay before the second.
pub(crate) fn merge_sort<T: Copy>(list: &mut Vec<T>, cmp: &mut impl FnMut(T, T) -> i32) {
    let sorted = sort_slice(list, cmp);
    *list = sorted;
}

fn sort_slice<T: Copy>(list: &[T], cmp: &mut impl FnMut(T, T) -> i32) -> Vec<T> {
    if list.len() <= 1 {
        return list.to_vec();
    }
    let (left, right) = list.split_at(list.len() / 2);
    let (left, right) = (sort_slice(left, cmp), sort_slice(right, cmp));
    let mut out = Vec::with_capacity(list.len());
    let (mut l, mut r) = (0, 0);
    while l < left.len() && r < right.len() {
        if cmp(left[l], right[r]) <= 0 {
            out.push(left[l]);
            l += 1;
        } else {
            out.push(right[r]);
            r += 1;
        }
    }
    out.extend_from_slice(&left[l..]);
    out.extend_from_slice(&right[r..]);
    out
}

/// Inserts before the first element that does not go before `item`.
pub(crate) fn insert_sorted<T: Copy>(
    list: &mut Vec<T>,
    item: T,
    mut cmp: impl FnMut(T, T) -> std::cmp::Ordering,
) {
    let at = list
        .iter()
        .position(|other| cmp(item, *other) != std::cmp::Ordering::Greater)
        .unwrap_or(list.len());
    list.insert(at, item);
}
