//! Finding a shorter list that still fails (delta debugging).

/// A shorter list, in the same order, for which `fails` is still true. `list` itself is taken to
/// fail. Asks at most `tries` times: what is left then is returned, though it might get shorter.
///
/// Whether a list fails may depend on chance: then what is left out may be too little, never too
/// much, because only a list that was seen to fail is kept.
pub fn shrink<T: Clone>(
    list: &[T],
    mut tries: usize,
    mut fails: impl FnMut(&[T]) -> bool,
) -> Vec<T> {
    let mut list = list.to_vec();
    let mut parts = 2;
    while list.len() > 1 && tries > 0 {
        let length = list.len().div_ceil(parts);
        let mut shorter = None;
        for begin in (0..list.len()).step_by(length) {
            if tries == 0 {
                break;
            }
            let end = (begin + length).min(list.len());
            let without = [&list[..begin], &list[end..]].concat();
            tries -= 1;
            if fails(&without) {
                shorter = Some(without);
                break;
            }
        }
        match shorter {
            Some(without) => {
                list = without;
                parts = (parts - 1).max(2);
            }
            None if length == 1 => break,
            None => parts = (parts * 2).min(list.len()),
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_matter_is_left_out() {
        let list: Vec<u32> = (0..20).collect();
        let needed = |list: &[u32]| list.contains(&3) && list.contains(&17);
        assert_eq!(shrink(&list, 200, needed), [3, 17]);
        assert_eq!(shrink(&list, 200, |list| list.contains(&8)), [8]);
    }

    #[test]
    fn it_asks_no_more_often_than_it_may() {
        let mut asked = 0;
        let list: Vec<u32> = (0..20).collect();
        let left = shrink(&list, 5, |list| {
            asked += 1;
            list.contains(&3)
        });
        assert_eq!(asked, 5);
        assert!(left.contains(&3) && left.len() < list.len(), "{left:?}");
    }

    #[test]
    fn a_list_of_which_all_is_needed_stays_as_it_is() {
        let list = [1, 2, 3, 4];
        assert_eq!(shrink(&list, 100, |shorter| shorter.len() == 4), list);
        assert_eq!(shrink(&list[..1], 100, |_| true), [1]);
    }
}
