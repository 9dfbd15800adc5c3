//! Sorting by comparisons that need not be consistent.
//!
//! Several orders of this field are not total (a pending operation compares equal to some but not
//! to others), so the result depends on the algorithm. This is the plain top-down merge sort over
//! lists, which asks for the same comparisons in the same sequence on every machine, and never
//! panics, whatever it is told.

/// Sorts stably; `cmp` is at most 0 where the first may stay before the second.
pub(crate) fn merge_sort<T: Copy>(list: &mut [T], cmp: &mut impl FnMut(T, T) -> i32) {
    sort_slice(list, &mut Vec::with_capacity(list.len() / 2), cmp);
}

fn sort_slice<T: Copy>(list: &mut [T], spare: &mut Vec<T>, cmp: &mut impl FnMut(T, T) -> i32) {
    match list {
        [] | [_] => return,
        [one, other] => {
            if cmp(*one, *other) > 0 {
                std::mem::swap(one, other);
            }
            return;
        }
        _ => {}
    }
    let middle = list.len() / 2;
    sort_slice(&mut list[..middle], spare, cmp);
    sort_slice(&mut list[middle..], spare, cmp);
    spare.clear();
    spare.extend_from_slice(&list[..middle]);
    let (mut l, mut r) = (0, middle);
    for out in 0..list.len() {
        if l == spare.len() {
            break;
        }
        if r < list.len() && cmp(spare[l], list[r]) > 0 {
            list[out] = list[r];
            r += 1;
        } else {
            list[out] = spare[l];
            l += 1;
        }
    }
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
