use super::*;

const CLOUD: Lists = Lists {
    total_capped: true,
    hotspots: false,
    severities: &["HIGH", "LOW"],
    statuses: &["OPEN", "CONFIRMED"],
    resolutions: &[],
};
const SERVER: Lists = Lists { total_capped: false, hotspots: true, resolutions: &["FIXED", "SAFE"], ..CLOUD };

/// A row of a list that Sonar might hold.
#[derive(Debug, Clone)]
struct Held {
    key: u64,
    second: i64,
    severity: &'static str,
    status: &'static str,
    resolution: Option<&'static str>,
    rule: String,
    file: String,
}

impl Held {
    fn new(key: u64, second: i64) -> Self {
        let file = format!("src/{}/{}.java", key % 7, key % 90);
        let rule = format!("java:S{}", key % 30);
        Self { key, second, severity: "HIGH", status: "OPEN", resolution: None, rule, file }
    }

    fn is_in(&self, slice: &Slice) -> bool {
        let at = Timestamp(self.second * 1000);
        slice.from.is_none_or(|from| at >= from)
            && slice.before.is_none_or(|before| at < before)
            && slice.severity.as_deref().is_none_or(|word| word == self.severity)
            && slice.status.as_deref().is_none_or(|word| word == self.status)
            && slice.resolution.as_deref().is_none_or(|word| Some(word) == self.resolution)
            && slice.rule.as_ref().is_none_or(|rule| *rule == self.rule)
            && slice.directory.as_deref().is_none_or(|folder| self.folder() == folder)
            && (slice.files.is_empty() || slice.files.contains(&self.file))
    }

    fn folder(&self) -> &str {
        self.file.rsplit_once('/').expect("it has one").0
    }
}

/// Sonar as far as a crawl sees it.
struct Sonar {
    lists: Lists,
    issues: Vec<Held>,
    hotspots: Vec<Held>,
    asked: u32,
}

impl Sonar {
    fn new(lists: Lists, issues: Vec<Held>) -> Self {
        Self { lists, issues, hotspots: Vec::new(), asked: 0 }
    }

    /// Answers a question and hands the page over.
    fn answer(&mut self, ask: &Ask, take: impl FnOnce(&Page)) {
        self.asked += 1;
        let list = if ask.list == List::Issues { &self.issues } else { &self.hotspots };
        let mut found: Vec<&Held> = list.iter().filter(|row| row.is_in(&ask.slice)).collect();
        found.sort_by_key(|row| (row.second, row.key));
        let count = found.len() as u64;
        assert!(u64::from(ask.page) * PAGE <= SONAR_WINDOW, "the window is read, never passed");
        let rows: Vec<Row> = found
            .iter()
            .skip((ask.page as usize - 1) * 500)
            .take(500)
            .map(|row| Row { key: row.key, created_at: Some(Timestamp(row.second * 1000)), path: Some(&row.file) })
            .collect();
        let mut values = std::collections::BTreeMap::<String, u64>::new();
        for row in &found {
            let value = match ask.facet {
                Some(Facet::Rules) => row.rule.clone(),
                Some(Facet::Directories) => row.folder().to_owned(),
                Some(Facet::Files) => row.file.clone(),
                _ => continue,
            };
            *values.entry(value).or_default() += 1;
        }
        let mut values: Vec<(String, u64)> = values.into_iter().collect();
        values.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        values.truncate(100);
        let capped = self.lists.total_capped && ask.list == List::Issues;
        take(&Page {
            rows: rows.len() as u64,
            total: if capped { count.min(SONAR_WINDOW) } else { count },
            sum: (ask.facet == Some(Facet::Status)).then_some(count),
            values: &values,
            keys: &rows,
        });
    }

    /// Crawls to the end; after each page the crawl is stored and read back.
    fn crawl(&mut self) -> Result<u64, Incomplete> {
        let mut crawl = Crawl::new(self.lists);
        while let Some(ask) = crawl.next() {
            self.answer(&ask, |page| crawl.page(page));
            assert!(self.asked < 10_000, "it comes to an end");
        }
        crawl.finish().map(|snapshot| snapshot.held())
    }
}

fn spread(count: u64) -> Vec<Held> {
    (0..count).map(|key| Held::new(key, i64::try_from(key).unwrap() * 60)).collect()
}

#[test]
fn no_more_pages_are_asked_than_the_count_needs() {
    for (count, pages) in [(0, 1), (1, 1), (500, 1), (501, 2), (9_000, 18), (9_999, 20)] {
        let mut sonar = Sonar::new(CLOUD, spread(count));
        assert_eq!((sonar.crawl(), sonar.asked), (Ok(count), pages), "{count}");
    }
}

#[test]
fn ten_thousand_on_cloud_means_unknown_and_on_a_server_it_is_a_number() {
    let mut cloud = Sonar::new(CLOUD, spread(10_000));
    assert_eq!(cloud.crawl(), Ok(10_000));
    assert!(cloud.asked > 20);
    let mut server = Sonar::new(SERVER, spread(10_000));
    assert_eq!((server.crawl(), server.asked), (Ok(10_000), 21), "20 of issues, one of hotspots");
}

#[test]
fn fifty_thousand_cost_hardly_more_than_their_pages() {
    let mut sonar = Sonar::new(SERVER, spread(50_000));
    assert_eq!(sonar.crawl(), Ok(50_000));
    assert!(sonar.asked <= 107, "{}", sonar.asked);
}

#[test]
fn twelve_thousand_of_one_second_among_others_are_cut_by_severity() {
    let mut issues = spread(23_000);
    for key in 23_000..35_000 {
        let severity = if key % 3 == 0 { "LOW" } else { "HIGH" };
        issues.push(Held { severity, ..Held::new(key, 11_500 * 60) });
    }
    let mut sonar = Sonar::new(CLOUD, issues);
    assert_eq!(sonar.crawl(), Ok(35_000));
    assert!(sonar.asked <= 91, "{} where paging alone would take 70", sonar.asked);
}

#[test]
fn one_second_is_cut_by_all_that_it_can_be_asked_for_by() {
    let issues: Vec<Held> = (0..90_000).map(|key| Held::new(key, 5)).collect();
    assert_eq!(Sonar::new(CLOUD, issues).crawl(), Ok(90_000), "by rule");
    let one_rule = |key| Held { rule: "java:S1".to_owned(), ..Held::new(key, 5) };
    let issues: Vec<Held> = (0..60_000).map(one_rule).collect();
    assert_eq!(Sonar::new(CLOUD, issues).crawl(), Ok(60_000), "by folder");
    let one_folder = |key| Held { file: format!("src/{}.java", key % 50), ..one_rule(key) };
    let issues: Vec<Held> = (0..40_000).map(one_folder).collect();
    assert_eq!(Sonar::new(CLOUD, issues).crawl(), Ok(40_000), "by file");
    let one_file = |key| Held { file: "src/a.java".to_owned(), ..one_rule(key) };
    let issues: Vec<Held> = (0..10_001).map(one_file).collect();
    assert_eq!(Sonar::new(CLOUD, issues).crawl(), Err(Incomplete::TooLarge { list: List::Issues }));
}

#[test]
fn more_rules_than_sonar_names_are_said_not_to_be_known() {
    let many = |key: u64| Held { rule: format!("java:S{}", key % 150), ..Held::new(key, 5) };
    let problem = Sonar::new(CLOUD, (0..15_000).map(many).collect()).crawl();
    assert_eq!(problem, Err(Incomplete::TooLarge { list: List::Issues }));
}

#[test]
fn hotspots_are_cut_by_review_and_then_by_file() {
    let mut sonar = Sonar::new(SERVER, spread(600));
    sonar.hotspots = (0..12_000)
        .map(|key| {
            let reviewed = key % 4 == 0;
            let status = if reviewed { "REVIEWED" } else { "TO_REVIEW" };
            Held { status, resolution: reviewed.then_some("SAFE"), ..Held::new(key, 1) }
        })
        .collect();
    assert_eq!(sonar.crawl(), Ok(12_600));
    for row in &mut sonar.hotspots {
        (row.status, row.resolution) = ("TO_REVIEW", None);
    }
    assert_eq!(sonar.crawl(), Ok(12_600), "by file");
    // Files that are only beyond the window are not known.
    for row in sonar.hotspots.iter_mut().filter(|row| row.key >= 11_000) {
        row.file = "src/late.java".to_owned();
    }
    assert_eq!(sonar.crawl(), Err(Incomplete::TooLarge { list: List::Hotspots }));
}

#[test]
fn a_row_that_comes_twice_leaves_the_proof_short_and_is_read_again() {
    let mut sonar = Sonar::new(CLOUD, spread(600));
    let mut crawl = Crawl::new(CLOUD);
    let mut spoilt = 0;
    while let Some(ask) = crawl.next() {
        sonar.answer(&ask, |page| {
            let twice = [Row { key: 3, ..page.keys[0] }; 100];
            let keys = if ask.page == 2 { &twice } else { page.keys };
            crawl.page(&Page { keys, ..*page });
            spoilt += u32::from(ask.page == 2);
        });
    }
    assert_eq!(spoilt, CRAWL_ATTEMPTS_MAX);
    let problem = crawl.finish().unwrap_err();
    assert_eq!(problem, Incomplete::Miscounted { list: List::Issues, total: 600, distinct: 500 });
    assert!(problem.is_passing());
}

#[test]
fn an_answer_without_counts_or_with_others_proves_nothing() {
    let run = |change: fn(&mut Page)| {
        let mut sonar = Sonar::new(CLOUD, spread(8));
        let mut crawl = Crawl::new(CLOUD);
        while let Some(ask) = crawl.next() {
            sonar.answer(&ask, |page| {
                let mut page = *page;
                change(&mut page);
                crawl.page(&page);
            });
        }
        crawl.finish().map(|snapshot| snapshot.held())
    };
    assert_eq!(run(|page| page.sum = None), Err(Incomplete::NoFacet));
    assert_eq!(run(|page| page.sum = Some(9)), Err(Incomplete::FacetDisagrees { facets: 9, total: 8 }));
    let fewer = Incomplete::Miscounted { list: List::Issues, total: 8, distinct: 3 };
    assert_eq!(run(|page| page.keys = &page.keys[..3]), Err(fewer));
}

/// One in a slice that is read is fixed, and one appears in a slice that is not: no moment had what was read.
#[test]
fn a_list_that_changes_under_the_crawl_is_no_snapshot() {
    let mut sonar = Sonar::new(CLOUD, spread(25_000));
    let mut crawl = Crawl::new(CLOUD);
    let mut changed = false;
    while let Some(ask) = crawl.next() {
        if !changed && crawl.read() > 15_000 {
            sonar.issues.retain(|row| row.key != 70);
            sonar.issues.push(Held::new(90_000, 24_500 * 60));
            changed = true;
        }
        sonar.answer(&ask, |page| crawl.page(page));
    }
    assert_eq!(
        crawl.finish().unwrap_err(),
        Incomplete::Miscounted { list: List::Issues, total: 25_000, distinct: 25_001 }
    );
}

#[test]
fn an_issue_that_is_fixed_in_the_slice_under_way_costs_a_second_look_at_it() {
    let mut sonar = Sonar::new(CLOUD, spread(25_000));
    let mut crawl = Crawl::new(CLOUD);
    let mut fixed = false;
    while let Some(ask) = crawl.next() {
        if !fixed && crawl.read() > 15_000 {
            sonar.issues.retain(|row| row.key != 12_000);
            fixed = true;
        }
        sonar.answer(&ask, |page| crawl.page(page));
    }
    assert_eq!(crawl.finish().unwrap().held(), 24_999);
    assert!(sonar.asked < 80, "{}", sonar.asked);
}

#[test]
fn a_crawl_that_is_stored_after_every_page_goes_on_where_it_was() {
    let mut issues = spread(12_000);
    issues.extend((12_000..24_000).map(|key| Held::new(key, 7_000 * 60)));
    let mut sonar = Sonar::new(SERVER, issues);
    sonar.hotspots = spread(700);
    let straight = (sonar.crawl(), sonar.asked);
    sonar.asked = 0;
    let mut crawl = Crawl::new(SERVER);
    while let Some(ask) = crawl.next() {
        sonar.answer(&ask, |page| crawl.page(page));
        let bytes = minicbor::to_vec(&crawl).unwrap();
        crawl = minicbor::decode::<Crawl>(&bytes).unwrap().resume(SERVER);
    }
    assert_eq!((crawl.finish().map(|snapshot| snapshot.held()), sonar.asked), straight);
    assert_eq!(straight.0, Ok(24_700));
}

/// Found by the last law below, with 4,000 cases.
#[test]
fn counts_that_no_number_holds_together_bring_nothing_down() {
    let values = [2_985_238_510_627_711_093, 15_461_505_563_081_840_523].map(|count| (String::new(), count));
    let mut crawl = Crawl::new(SERVER);
    for _ in 0..500 {
        if crawl.next().is_none() {
            break;
        }
        let keys = [Row { key: 0, created_at: Some(Timestamp(0)), path: Some("src/a") }];
        crawl.page(&Page { rows: 0, total: 5_223_557_586_161_949_667, sum: None, values: &values, keys: &keys });
    }
    assert!(crawl.next().is_some() || crawl.finish().is_err());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(6))]

    /// However the dates are heaped: all is read, or it is said that it was not.
    #[test]
    fn however_the_dates_lie_a_snapshot_holds_all(
        heaps in proptest::collection::vec((0..40_i64, 1..9_000_u64), 1..8),
        cloud in proptest::bool::ANY,
    ) {
        let mut issues = Vec::new();
        for (second, count) in heaps {
            for _ in 0..count {
                let key = issues.len() as u64;
                let severity = if key.is_multiple_of(5) { "LOW" } else { "HIGH" };
                issues.push(Held { severity, ..Held::new(key, second) });
            }
        }
        let all = issues.len() as u64;
        let mut sonar = Sonar::new(if cloud { CLOUD } else { SERVER }, issues);
        proptest::prop_assert_eq!(sonar.crawl(), Ok(all));
    }

    /// Whatever rows the pages hold: a snapshot is made only if as many different keys were read as are counted.
    #[test]
    fn a_snapshot_never_holds_less_than_sonar_counts(
        total in 0..1600_u64,
        sum in proptest::option::weighted(0.9, 0..1600_u64),
        rows in proptest::collection::vec(proptest::collection::vec(0..1600_u64, 0..500), 4),
    ) {
        let mut crawl = Crawl::new(CLOUD);
        let mut counted = None;
        while let Some(ask) = crawl.next() {
            let page = rows.get(ask.page as usize - 1).cloned().unwrap_or_default();
            let keys: Vec<Row> = page.iter().map(|&key| Row { key, created_at: None, path: None }).collect();
            let sum = sum.filter(|_| ask.facet.is_some());
            counted = counted.or(sum);
            crawl.page(&Page { rows: keys.len() as u64, total, sum, values: &[], keys: &keys });
        }
        if let Ok(snapshot) = crawl.finish() {
            proptest::prop_assert_eq!(Some(snapshot.held()), counted);
            proptest::prop_assert_eq!(snapshot.held(), total);
        }
    }

    /// Whatever a server answers, numbers that nobody can have among it: the crawl ends, without a fault, and makes a
    /// snapshot only of what was counted and read.
    #[test]
    fn a_server_that_lies_about_every_number_brings_nothing_down(
        cloud in proptest::bool::ANY,
        pages in proptest::collection::vec(
            (
                proptest::num::u64::ANY,
                proptest::option::of(proptest::num::u64::ANY),
                proptest::num::u64::ANY,
                proptest::collection::vec(("[a-c/]{0,4}", proptest::num::u64::ANY), 0..4),
                proptest::collection::vec((0..40_u64, proptest::option::of(-400_000_000_000_000..400_000_000_000_000_i64)), 0..30),
            ),
            1..6,
        ),
    ) {
        let mut crawl = Crawl::new(if cloud { CLOUD } else { SERVER });
        for (total, sum, rows, values, keys) in pages.iter().cycle().take(500) {
            let Some(ask) = crawl.next() else { break };
            let keys: Vec<Row> = keys
                .iter()
                .map(|&(key, at)| Row { key, created_at: at.map(Timestamp), path: Some("src/a") })
                .collect();
            // Half of the answers are small enough to be believed for a while.
            let small = |number: u64| if number.is_multiple_of(2) { number % 20_000 } else { number };
            let sum = sum.map(small).filter(|_| ask.facet.is_some());
            crawl.page(&Page { rows: small(*rows), total: small(*total), sum, values, keys: &keys });
        }
        if crawl.next().is_none() && let Ok(snapshot) = crawl.finish() {
            proptest::prop_assert!(snapshot.held() <= 40);
        }
    }
}
