use crate::testing::Harness;

#[test]
fn a_lock_is_released_by_its_holder_only() {
    // Breaks if a key is deleted that holds another string than the one named, or one that does stays.
    for (release, other) in [
        ("DELIFEQ k mine", "DELIFEQ k yours"),
        ("DELEX k IFEQ mine", "DELEX k ifeq yours"),
        ("DELEX k ifne yours", "DELEX k IFNE mine"),
        ("DELEX k", "DELEX other"),
    ] {
        let mut h = Harness::new();
        h.run("SET k mine NX PX 100");
        assert_eq!(h.run(other), ":0\r\n", "{other}");
        assert_eq!(h.events(), "");
        assert_eq!(h.run("GET k"), "$4\r\nmine\r\n");
        assert_eq!(h.run(release), ":1\r\n", "{release}");
        assert_eq!(h.events(), "del k");
        assert_eq!(h.run("GET k"), "$-1\r\n");
        assert_eq!(h.run(release), ":0\r\n", "{release}");
    }
}

#[test]
fn conditions_on_deletion_are_spelled_out() {
    // Breaks if DELEX takes a condition that it does not know for none at all.
    let mut h = Harness::new();
    h.run("SET k v");
    let arity = "-ERR wrong number of arguments for 'delex' command\r\n";
    assert_eq!(h.run("DELEX k IFEQ"), arity);
    assert_eq!(h.run("DELEX k IFEQ v IFNE w"), arity);
    assert_eq!(h.run("DELEX k IF v"), "-ERR syntax error\r\n");
    assert_eq!(h.run("GET k"), "$1\r\nv\r\n");
}

#[test]
fn an_expired_lock_is_not_released() {
    // Breaks if a comparison sees a string whose time has passed.
    let mut h = Harness::new();
    h.run("SET k mine NX PX 10");
    h.pass_ms(10);
    assert_eq!(h.run("DELIFEQ k mine"), ":0\r\n");
}

#[test]
fn getdel_answers_the_string_that_it_deletes() {
    // Breaks if the string is lost before it is answered.
    let mut h = Harness::new();
    h.run("SET k v");
    assert_eq!(h.run("GETDEL k"), "$1\r\nv\r\n");
    assert_eq!(h.events(), "del k");
    assert_eq!(h.run("GETDEL k"), "$-1\r\n");
    assert_eq!(h.all_events(), "keymiss k");
}
