// SPDX-License-Identifier: Apache-2.0
//! Named volumes as they are made: whole or not at all, once, and like what the image has in their place.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use bryo_tests::images::path;
use bryo_tests::layout::{Image, busybox_layer};
use bryo_tests::tar::{Entry, Tar};
use bryo_tests::user::Rung;
use bryo_tests::{Home, Running, User};
use rustix::process::Signal;
use serde_json::json;

const IMAGE: &str = "localhost/content:1";
const FILES: usize = 400;

/// A home with an image that has much at `/content`.
fn home(user: &User) -> Home {
    let home = Home::new(user);
    let mut tar = Tar::default().owned_dir("content/", 0o750, (65532, 65532));
    for n in 0..FILES {
        if n % 100 == 0 {
            tar = tar.dir(&format!("content/{}/", n / 100), 0o755);
        }
        tar = tar.file(&format!("content/{}/{n}", n / 100), 0o644, &[b'x'; 20_000]);
    }
    let config = json!({"Env": [path()]});
    let file = home.path.join("content.tar");
    Image::new(IMAGE, vec![busybox_layer(), tar.finish()], config).archive(&file);
    home.load(&file);
    home
}

/// The words that count what is in volumes which are mounted over the content of the image and beside it.
fn count(volumes: &[&str]) -> Vec<String> {
    let mut words: Vec<String> = ["run", "--rm", "--network", "none"].map(str::to_owned).into();
    for volume in volumes {
        words.extend(["-v".to_owned(), (*volume).to_owned()]);
    }
    let script = "for d in /content /other; do test ! -d $d || cat $d/*/* | wc -c; done";
    words.extend([IMAGE, "sh", "-c", script].map(str::to_owned));
    words
}

fn start(home: &Home, volumes: &[&str]) -> Running {
    let words = count(volumes);
    home.start(&words.iter().map(String::as_str).collect::<Vec<_>>())
}

fn unfinished(home: &Home) -> Vec<String> {
    let snapshot = bryo_tests::listing::Snapshot::take(home);
    snapshot.files.into_iter().filter(|file| file.contains("_data.new")).collect()
}

#[test]
fn a_start_that_is_killed_leaves_a_volume_whole_or_none() {
    const MOMENTS: u32 = 15;
    // On a machine that is slower at first than later, all kills of a round may come too late.
    const ROUNDS: u32 = 4;
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let whole = (FILES * 20_000).to_string();
    let begun = Instant::now();
    assert_eq!(start(&home, &["first:/content"]).wait().ok(), whole);
    let length = begun.elapsed();
    let mut left = 0;
    for (round, moment) in (0..ROUNDS).flat_map(|round| (0..MOMENTS).map(move |moment| (round, moment))) {
        if moment == 0 && left > 0 {
            break;
        }
        let volume = format!("v{round}-{moment}:/content");
        let run = start(&home, &[&volume]);
        std::thread::sleep(length.mul_f64(f64::from(moment) / f64::from(MOMENTS)).max(Duration::from_millis(1)));
        run.signal(Signal::KILL);
        drop(run);
        left += usize::from(!unfinished(&home).is_empty());
        assert_eq!(start(&home, &[&volume]).wait().ok(), whole, "{moment}");
        assert_eq!(unfinished(&home), [""; 0], "the next start takes away what was left");
    }
    assert!(left > 0, "no kill came in the middle");
}

#[test]
fn what_a_killed_start_left_of_a_volume_is_collected() {
    for user in User::all() {
        let home = home(&user);
        for n in 0.. {
            assert!(n < 200, "no kill came in the middle");
            let run = start(&home, &[&format!("v{n}:/content")]);
            let volume = home.store().join("volumes").join(format!("v{n}"));
            let begun = || (std::fs::read_dir(&volume).ok()?.count() > 0).then_some(());
            bryo_tests::program::eventually("the volume is begun", begun);
            run.signal(Signal::KILL);
            drop(run);
            if !unfinished(&home).is_empty() {
                break;
            }
        }
        // What was a child of the killed one ends a moment later.
        let collected = || (home.bryo(&["gc"]).status.code() == Some(0)).then_some(());
        bryo_tests::program::eventually("garbage is collected", collected);
        assert_eq!(unfinished(&home), [""; 0], "{}", user.name);
    }
}

#[test]
fn starters_of_one_new_volume_all_find_it_whole() {
    for user in User::all() {
        let home = home(&user);
        let whole = (FILES * 20_000).to_string();
        for round in 0..3 {
            let volume = format!("v{round}:/content");
            let runs: Vec<Running> = (0..5).map(|_| start(&home, &[&volume])).collect();
            for run in runs {
                assert_eq!(run.wait().ok(), whole);
            }
        }
        assert_eq!(unfinished(&home), [""; 0]);
    }
}

/// Each of two that wait for what the other holds would wait forever.
#[test]
fn starters_of_the_same_new_volumes_in_another_order_do_not_wait_for_each_other() {
    let Some(user) = User::ordinary() else { return };
    let home = home(&user);
    let whole = FILES * 20_000;
    for round in 0..4 {
        let (a, b) = (format!("a{round}"), format!("b{round}"));
        let one = start(&home, &[&format!("{a}:/content"), &format!("{b}:/other")]);
        let two = start(&home, &[&format!("{b}:/content"), &format!("{a}:/other")]);
        let sizes = |run: Running| -> Vec<usize> { run.wait().ok().lines().map(|n| n.parse().unwrap()).collect() };
        // Whoever came first has given each its content: of the image, or of a place where the image has nothing.
        for seen in [sizes(one), sizes(two)] {
            assert!(seen == [whole, 0] || seen == [0, whole] || seen == [whole, whole] || seen == [0, 0], "{seen:?}");
        }
    }
    // One volume in two places has one content.
    let both = start(&home, &["both:/other", "both:/content"]).wait();
    let text = both.ok();
    let sizes: Vec<&str> = text.lines().collect();
    assert!(sizes.len() == 2 && sizes[0] == sizes[1], "{sizes:?}");
}

#[test]
fn a_new_volume_is_like_what_the_image_has_there() {
    for user in User::all() {
        let home = Home::new(&user);
        let file = |name, mode, ids, data| Entry { name, kind: b'0', mode, ids, link: "", data };
        let link = Entry { name: "c/link", kind: b'2', mode: 0o777, ids: (1000, 1001), link: "../outside", data: b"" };
        let layer = Tar::default()
            .owned_dir("c/", 0o750, (65532, 1000))
            .owned_dir("c/d/", 0o711, (1000, 1000))
            .pax(&[("SCHILY.xattr.user.note", b"kept")])
            .entry(file("c/d/file", 0o640, (1001, 65532), b"content"))
            .entry(link)
            .entry(Entry { name: "c/fifo", kind: b'6', mode: 0o644, ids: (0, 0), link: "", data: b"" })
            .finish();
        let archive = home.path.join("c.tar");
        Image::new("localhost/c:1", vec![busybox_layer(), layer], json!({"Env": [path()]})).archive(&archive);
        home.load(&archive);
        let script = "cd /c && stat -c '%n %u:%g %a %Y %F %N' . d d/file link && ls /c && cat d/file";
        // As root inside, who may look into everything.
        let words = ["--user", "root", "--workdir", "/"];
        let of_image = home.run(&[&words[..], &["localhost/c:1", "sh", "-c", script]].concat()).ok();
        let words = [&words[..], &["-v", "v:/c", "localhost/c:1", "sh", "-c", script]].concat();
        let of_volume = home.run(&words).ok();
        assert_eq!(of_volume, of_image.replace("fifo\n", ""), "{}", user.name);
        assert_eq!(home.run(&words).ok(), of_volume);
        let data = home.store().join("volumes/v/_data");
        if bryo_tests::user::is_root() {
            let mut note = [0; 16];
            let length = rustix::fs::getxattr(data.join("d/file"), "user.note", &mut note).unwrap();
            assert_eq!(note[..length], *b"kept");
        }
        // On the host they are the ids of containers.
        let owner = std::fs::symlink_metadata(&data).unwrap().uid();
        assert!(user.may_own(owner), "{owner} for {}", user.name);
        assert!(user.rung == Rung::Single || owner != user.uid);
    }
}
