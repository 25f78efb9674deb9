// SPDX-License-Identifier: Apache-2.0
//! When distributions get their last security update that costs nothing.

use crate::facts::image::Image;
use crate::judge::Setting;
use crate::judge::files::content;
use crate::model::{Place, Sink};
use crate::rules::END_OF_LIFE;

/// The last day of each release, by `ID` and `VERSION_ID` of `os-release`.
///
/// Sources: distro-info-data 0.58+deb12u7 for Debian (with long-term support) and Ubuntu (without the paid extension);
/// endoflife.date of August 2026 for the others, without paid extensions. CentOS 8 is the later of Linux and Stream.
const ENDS: [(&str, &str); 15] = [
    ("debian", "7=2018-05-31 8=2020-06-30 9=2022-06-30 10=2024-06-30 11=2026-08-31 12=2028-06-30 13=2030-06-30"),
    (
        "ubuntu",
        "14.04=2019-04-25 14.10=2015-07-23 15.04=2016-02-04 15.10=2016-07-28 16.04=2021-04-30 \
         16.10=2017-07-20 17.04=2018-01-13 17.10=2018-07-19 18.04=2023-05-31 18.10=2019-07-18 \
         19.04=2020-01-23 19.10=2020-07-17 20.04=2025-05-29 20.10=2021-07-22 21.04=2022-01-20 \
         21.10=2022-07-14 22.04=2027-06-01 22.10=2023-07-20 23.04=2024-01-25 23.10=2024-07-11 \
         24.04=2029-05-31 24.10=2025-07-10 25.04=2026-01-15 25.10=2026-07-09 26.04=2031-05-29 \
         26.10=2027-07-15",
    ),
    (
        "alpine",
        "3.0=2016-05-01 3.1=2016-11-01 3.2=2017-05-01 3.3=2017-11-01 3.4=2018-05-01 3.5=2018-11-01 \
         3.6=2019-05-01 3.7=2019-11-01 3.8=2020-05-01 3.9=2020-11-01 3.10=2021-05-01 3.11=2021-11-01 \
         3.12=2022-05-01 3.13=2022-11-01 3.14=2023-05-01 3.15=2023-11-01 3.16=2024-05-23 3.17=2024-11-22 \
         3.18=2025-05-09 3.19=2025-11-01 3.20=2026-04-01 3.21=2026-11-01 3.22=2027-05-01 3.23=2027-11-01 \
         3.24=2028-06-01",
    ),
    ("centos", "5=2017-03-31 6=2020-11-30 7=2024-06-30 8=2024-05-31 9=2027-05-31 10=2030-05-31"),
    (
        "fedora",
        "25=2017-12-12 26=2018-05-29 27=2018-11-30 28=2019-05-28 29=2019-11-26 30=2020-05-26 31=2020-11-24 \
         32=2021-05-25 33=2021-11-30 34=2022-06-07 35=2022-12-13 36=2023-05-16 37=2023-12-05 38=2024-05-21 \
         39=2024-11-26 40=2025-05-13 41=2025-12-15 42=2026-05-27 43=2026-12-09 44=2027-06-02",
    ),
    (
        "amzn",
        "2=2026-06-30 2010.11=2023-12-31 2011.09=2023-12-31 2012.03=2023-12-31 2012.09=2023-12-31 \
         2013.03=2023-12-31 2013.09=2023-12-31 2014.03=2023-12-31 2014.09=2023-12-31 2015.03=2023-12-31 \
         2015.09=2023-12-31 2016.03=2023-12-31 2016.09=2023-12-31 2017.03=2023-12-31 2017.09=2023-12-31 \
         2018.03=2023-12-31 2023=2029-06-30",
    ),
    ("rhel", "4=2012-02-29 5=2017-03-31 6=2020-11-30 7=2024-06-30 8=2029-05-31 9=2032-05-31 10=2035-05-31"),
    ("rocky", "8=2029-05-31 9=2032-05-31 10=2035-05-31"),
    ("almalinux", "8=2029-05-31 9=2032-05-31 10=2035-05-31"),
    ("ol", "6=2021-03-31 7=2024-12-31 8=2029-07-31 9=2032-06-30"),
    (
        "opensuse-leap",
        "15.0=2019-12-03 15.1=2021-02-02 15.2=2022-01-04 15.3=2022-12-31 15.4=2023-12-07 15.5=2024-12-31 \
         15.6=2026-04-30 16.0=2027-10-31 42.1=2017-05-17 42.2=2018-01-26 42.3=2019-07-01",
    ),
    (
        "sles",
        "11.0=2010-12-31 11.1=2012-08-31 11.2=2014-01-31 11.3=2016-01-31 11.4=2019-03-31 12.0=2016-06-30 \
         12.1=2017-05-31 12.2=2018-03-31 12.3=2019-06-30 12.4=2020-06-30 12.5=2024-10-31 15.0=2019-12-31 \
         15.1=2021-01-31 15.2=2021-12-31 15.3=2022-12-31 15.4=2023-12-31 15.5=2024-12-31 15.6=2025-12-31 \
         15.7=2031-07-31 16.0=2027-11-30",
    ),
    ("devuan", "1=2020-06-30 2=2022-06-30 3=2024-06-01 4=2026-08-15 5=2028-06-10 6=2030-06-30"),
    (
        "mageia",
        "1=2012-12-01 2=2013-11-22 3=2014-11-26 4=2015-09-19 5=2017-12-31 6=2019-09-30 7=2021-06-30 \
         8=2023-11-30 9=2026-09-29 10=2028-03-31",
    ),
    ("photon", "1.0=2022-02-28 2.0=2022-12-01 3.0=2025-10-02 4.0=2027-10-11"),
];

/// Says that an image stands on a release whose time is over, by this table or by the release's own word.
pub(super) fn judge(image: &Image, place: &Place, setting: &Setting, sink: &mut Sink) {
    let Some(text) = content(image, "etc/os-release").or_else(|| content(image, "usr/lib/os-release")) else { return };
    let field = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
    };
    let (id, version, own) = (field("ID"), field("VERSION_ID"), field("SUPPORT_END"));
    let is_day = own.parse::<jiff::civil::Date>().is_ok();
    let end = end(&id, &version).or(is_day.then_some(own.as_str()));
    if let Some(end) = end.filter(|end| *end < setting.today.as_str()) {
        sink.add(&END_OF_LIFE, place, format!("{id} {version}: no updates since {end}"));
    }
}

/// Returns the last day of a release. Of two that fit the longer name is the release's.
fn end(id: &str, version: &str) -> Option<&'static str> {
    let (_, releases) = ENDS.iter().find(|(known, _)| *known == id)?;
    let fits = |known: &str| version == known || version.strip_prefix(known).is_some_and(|rest| rest.starts_with('.'));
    let known = releases.split_whitespace().filter_map(|pair| pair.split_once('='));
    known.filter(|(known, _)| fits(known)).max_by_key(|(known, _)| known.len()).map(|(_, day)| day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_found_by_their_own_names() {
        for (id, version, day) in [
            ("debian", "12", Some("2028-06-30")),
            ("alpine", "3.1.4", Some("2016-11-01")),
            ("alpine", "3.19.1", Some("2025-11-01")),
            ("rhel", "8.10", Some("2029-05-31")),
            ("amzn", "2", Some("2026-06-30")),
            ("amzn", "2023", Some("2029-06-30")),
            ("debian", "99", None),
            ("none", "1", None),
        ] {
            assert_eq!(end(id, version), day, "{id} {version}");
        }
    }

    #[test]
    fn every_day_is_one() {
        for (id, releases) in ENDS {
            for pair in releases.split_whitespace() {
                let day = pair.split_once('=').map(|(_, day)| day.parse::<jiff::civil::Date>());
                assert!(matches!(day, Some(Ok(_))), "{id} {pair}");
            }
        }
    }
}
