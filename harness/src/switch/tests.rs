use super::*;

const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
const B: [u8; 6] = [2, 0, 0, 0, 0, 2];
const ALL: [u8; 6] = [0xff; 6];

fn frame(to: [u8; 6], from: [u8; 6]) -> Bytes {
    [to.as_slice(), &from, b"\x08\x00hello"].concat().into()
}

#[tokio::test]
async fn a_broadcast_reaches_every_other_port_and_an_answer_only_the_one_it_is_for() {
    let switch = Switch::new();
    let (mut a, mut b, mut c) = (
        switch.attach_local("a"),
        switch.attach_local("b"),
        switch.attach_local("c"),
    );
    a.send(frame(ALL, A));
    assert!(b.try_recv().is_some() && c.try_recv().is_some() && a.try_recv().is_none());
    b.send(frame(A, B));
    assert!(a.try_recv().is_some());
    assert!(c.try_recv().is_none());
}

#[tokio::test]
async fn a_cut_swallows_one_direction_and_counts_what_it_swallowed() {
    let switch = Switch::new();
    let (mut a, mut b) = (switch.attach_local("a"), switch.attach_local("b"));
    switch.cut("a", "b");
    a.send(frame(ALL, A));
    b.send(frame(ALL, B));
    assert!(b.try_recv().is_none());
    assert!(a.try_recv().is_some());
    assert_eq!(switch.counts("a", "b"), Counts { hits: 1, passed: 0 });
}

#[tokio::test]
async fn a_joined_link_passes_frames_again_and_counts_them() {
    let switch = Switch::new();
    let (a, mut b) = (switch.attach_local("a"), switch.attach_local("b"));
    switch.cut("a", "b");
    switch.join("a", "b");
    a.send(frame(ALL, A));
    assert!(b.try_recv().is_some());
    assert_eq!(switch.counts("a", "b"), Counts { hits: 0, passed: 1 });
}

#[tokio::test]
async fn a_machine_that_connects_again_has_its_port_back() {
    let switch = Switch::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    switch.attach_socket("vm", &path).unwrap();
    let mut local = switch.attach_local("local");
    for _ in 0..2 {
        let mut vm = UnixStream::connect(&path).await.unwrap();
        let sent = frame(ALL, A);
        vm.write_u32(sent.len() as u32).await.unwrap();
        vm.write_all(&sent).await.unwrap();
        assert_eq!(local.recv().await.unwrap(), sent);
        local.send(frame(A, B));
        assert_eq!(vm.read_u32().await.unwrap() as usize, sent.len());
    }
}

#[tokio::test]
async fn a_port_that_does_not_read_loses_frames_instead_of_stopping_the_others() {
    let switch = Switch::new();
    let (a, _b) = (switch.attach_local("a"), switch.attach_local("b"));
    for _ in 0..QUEUE + 5 {
        a.send(frame(ALL, A));
    }
    assert_eq!(switch.dropped("b"), 5);
}

#[tokio::test]
async fn a_frame_for_a_machine_that_is_not_connected_does_not_count_as_passed() {
    let switch = Switch::new();
    let folder = tempfile::tempdir().unwrap();
    switch.attach_socket("vm", &folder.path().join("s")).unwrap();
    let local = switch.attach_local("local");
    switch.join("local", "vm");
    local.send(frame(ALL, A));
    assert_eq!(switch.counts("local", "vm"), Counts::default());
}
