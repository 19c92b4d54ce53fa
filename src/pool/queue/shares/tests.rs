//! Turns, without connections.

use crate::pool::queue::shares::*;
use crate::rt::sync::Mutex;
use std::time::Instant;

fn tenant(shares: &mut Shares, label: &str, share: Share) -> Arc<Tenant> {
    shares.tenant(label, share, |label| Tenant::new(label, Weak::new()))
}

fn queue(shares: &mut Shares, tenant: &Tenant, now: Instant) -> Arc<SharedCall> {
    let call = SharedCall::new(now);
    let standing = Standing { tenant: tenant.id(), counted: false };
    assert!(shares.join(Arc::clone(&call), standing).is_ok());
    call
}

#[test]
fn turns_follow_the_weights_and_each_line_its_order() {
    let now = Instant::now();
    let mut shares = Shares::default();
    let one = tenant(&mut shares, "one", Share::new());
    let three = tenant(&mut shares, "three", Share::new().weight(3));
    let lines: Mutex<Vec<(Arc<SharedCall>, u8)>> = Mutex::new(Vec::new());
    for _ in 0..40 {
        for (who, number) in [(&one, 1), (&three, 3)] {
            lines.lock().push((queue(&mut shares, who, now), number));
        }
    }
    assert_eq!((shares.ready(), shares.waiting()), (80, 80));
    let mut order = Vec::new();
    while let Some(call) = shares.pop(&mut Line::default(), &mut Vec::new()) {
        let mut lines = lines.lock();
        let at = lines.iter().position(|(other, _)| Arc::ptr_eq(other, &call)).unwrap();
        let (_, who) = lines.remove(at);
        assert!(!lines[..at].iter().any(|(_, other)| *other == who), "in order within a line");
        order.push(who);
    }
    assert_eq!(order.len(), 80);
    // While both wait: of each four turns, three.
    for four in order[4..48].chunks(4) {
        assert_eq!(four.iter().filter(|who| **who == 3).count(), 3, "{order:?}");
    }
}

#[test]
fn who_was_away_has_saved_nothing_up() {
    let now = Instant::now();
    let mut shares = Shares::default();
    let busy = tenant(&mut shares, "busy", Share::new().max_calls(1000));
    let away = tenant(&mut shares, "away", Share::new().max_calls(1000));
    for _ in 0..200 {
        queue(&mut shares, &busy, now);
    }
    for _ in 0..100 {
        assert!(shares.pop(&mut Line::default(), &mut Vec::new()).is_some());
    }
    let late: Vec<_> = (0..50).map(|_| queue(&mut shares, &away, now)).collect();
    let next: Vec<_> =
        (0..20).map(|_| shares.pop(&mut Line::default(), &mut Vec::new()).unwrap()).collect();
    let of_late = next.iter().filter(|call| late.iter().any(|l| Arc::ptr_eq(l, call))).count();
    assert_eq!(of_late, 10, "every other turn, not all of them");
}

#[test]
fn a_quota_keeps_its_line_waiting_and_no_other() {
    let now = Instant::now();
    let mut shares = Shares::default();
    let small = tenant(&mut shares, "small", Share::new().max_calls(1));
    assert!(shares.admit(small.id()));
    assert!(!shares.admit(small.id()), "its one call is in flight");
    queue(&mut shares, &small, now);
    assert_eq!((shares.ready(), shares.waiting()), (0, 1));
    assert!(shares.pop(&mut Line::default(), &mut Vec::new()).is_none());
    shares.leave(small.id());
    assert_eq!(shares.ready(), 1);
    assert!(shares.pop(&mut Line::default(), &mut Vec::new()).is_some());
    assert_eq!((shares.ready(), shares.waiting()), (0, 0));
}

#[test]
fn a_tenant_has_as_many_calls_as_its_quota() {
    let now = Instant::now();
    let mut shares = Shares::default();
    let two = tenant(&mut shares, "two", Share::new().max_calls(2));
    let calls: Vec<_> = (0..3).map(|_| queue(&mut shares, &two, now)).collect();
    assert_eq!((shares.ready(), shares.waiting()), (2, 3));
    let over = &mut Vec::new();
    let mut line = shares.lines.remove(&two.id()).unwrap();
    assert!(Arc::ptr_eq(&line.pop(over).unwrap(), &calls[0]));
    assert!(Arc::ptr_eq(&line.pop(over).unwrap(), &calls[1]));
    assert!(line.pop(over).is_none(), "two run");
}
