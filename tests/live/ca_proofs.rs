//! Which tests have a server give the answers of which `docs/problems.md` tells (P17, P22, P23).
//!
//! The first of its tables is the table in the code, as a test there holds. A proxy before a real CA gives what that CA
//! does not give by itself; what needs no more than one exchange is tried in `tests/ca`. That CA is Pebble, and for some of
//! the rows step-ca too, in `step_ca`.

/// The rows of the table of problems, in their order, and their tests.
const PROBLEMS: [(&str, &[&str]); 32] = [
    (
        "any, with HTTP 503",
        &[
            "p22_a_busy_ca_is_left_alone_for_the_seconds_it_asks",
            "p22_a_busy_ca_is_left_alone_until_the_date_it_names",
            "a_busy_ca_is_heard_in_every_form",
        ],
    ),
    (
        "`rateLimited`, a limit",
        &[
            "p17_a_limit_of_the_account_holds_everything_for_as_long_as_the_ca_says",
            "p17_a_limit_of_a_domain_holds_what_is_below_it",
            "p17_a_limit_of_one_name_holds_that_name_alone",
        ],
    ),
    (
        "`rateLimited` of a paused name: without Retry-After, and with words or a link that say so",
        &["p17_a_name_that_is_paused_waits_for_a_person"],
    ),
    (
        "`serverInternal`, inside an order",
        &["p23_an_order_of_no_use_is_replaced"],
    ),
    (
        "`serverInternal`, to a request",
        &[
            "p22_a_ca_that_fails_inside_is_asked_ever_more_seldom",
            "p22_an_order_that_has_moved_on_is_read_again",
        ],
    ),
    (
        "`badNonce`",
        &[
            "p22_one_nonce_in_twenty_refused_is_no_trouble",
            "p22_one_nonce_in_five_refused_is_no_trouble",
            "p22_nonces_that_are_wrong_are_no_trouble_and_without_good_ones_it_waits",
        ],
    ),
    ("`dns`", &["p22_what_the_ca_has_seen_fail_comes_later"]),
    (
        "`connection`, `tls`, `incorrectResponse`",
        &["p22_what_the_ca_has_seen_fail_comes_later"],
    ),
    (
        "`unauthorized`, of a challenge",
        &[
            "p22_what_the_ca_has_seen_fail_comes_later",
            "p22_an_order_that_fails_validation_keeps_its_distance",
        ],
    ),
    (
        "`unauthorized`, to a request about an order",
        &["p23_an_order_of_no_use_is_replaced"],
    ),
    (
        "`unauthorized`, to a new order, because of its profile",
        &["p22_what_concerns_the_account_holds_everything_until_somebody_acts"],
    ),
    (
        "`unauthorized`, to a new order",
        &["p22_what_concerns_the_account_holds_everything_until_somebody_acts"],
    ),
    (
        "`caa`",
        &["p17_what_will_not_succeed_stops_one_name_and_no_other"],
    ),
    (
        "`rejectedIdentifier`",
        &[
            "p17_a_name_that_the_ca_does_not_serve_stops_alone",
            "p17_what_will_not_succeed_stops_one_name_and_no_other",
        ],
    ),
    (
        "`unsupportedIdentifier`",
        &["p17_what_will_not_succeed_stops_one_name_and_no_other"],
    ),
    (
        "`badPublicKey`, `malformed` or a type that we do not know, to a new account",
        &["p22_an_account_key_that_is_refused_is_no_names_fault"],
    ),
    (
        "`malformed`, with HTTP 404, or an authorization that has expired",
        &["p23_an_order_of_no_use_is_replaced"],
    ),
    (
        "`malformed`",
        &["p17_what_will_not_succeed_stops_one_name_and_no_other"],
    ),
    (
        "`badCSR`, `badPublicKey`",
        &["p22_a_key_that_is_refused_is_changed_once"],
    ),
    (
        "`badSignatureAlgorithm`",
        &["p22_what_concerns_the_account_holds_everything_until_somebody_acts"],
    ),
    (
        "`orderNotReady`",
        &["p22_an_order_that_has_moved_on_is_read_again"],
    ),
    (
        "`accountDoesNotExist`",
        &["p23_a_ca_that_has_forgotten_everything_is_met_anew"],
    ),
    (
        "`externalAccountRequired`, `userActionRequired`",
        &[
            "p22_what_concerns_the_account_holds_everything_until_somebody_acts",
            "an_account_is_bound_to_what_the_ca_knows",
        ],
    ),
    (
        "`invalidContact`, `unsupportedContact`",
        &[
            "p22_a_contact_that_the_ca_does_not_want_is_left_out",
            "a_contact_that_is_not_wanted_is_left_out",
        ],
    ),
    (
        "`alreadyReplaced`",
        &[
            "p21_a_renewal_names_what_it_replaces_and_a_window_is_told",
            "p21_what_replaces_is_asked_for_once_more_without",
            "p23_an_order_of_no_use_is_replaced",
        ],
    ),
    (
        "`invalidProfile`, to a request about an order",
        &["p23_an_order_of_no_use_is_replaced"],
    ),
    (
        "`invalidProfile`",
        &[
            "the_profile_is_asked_for_if_there_is_one",
            "another_profile_stands_in_if_the_operator_says_so",
            "p22_a_profile_that_the_ca_does_not_take_is_stood_in_for",
            "p22_what_concerns_the_account_holds_everything_until_somebody_acts",
        ],
    ),
    (
        "`conflict`",
        &[
            "p22_an_order_that_has_moved_on_is_read_again",
            "a_challenge_under_way_counts_as_told",
        ],
    ),
    (
        "`alreadyRevoked`",
        &[
            "p22_a_revocation_is_done_once_and_without_a_reason_that_is_refused",
            "a_certificate_is_revoked_once_and_for_all",
        ],
    ),
    (
        "`badRevocationReason`",
        &["p22_a_revocation_is_done_once_and_without_a_reason_that_is_refused"],
    ),
    (
        "`compound`",
        &["p17_what_will_not_succeed_stops_one_name_and_no_other"],
    ),
    (
        "a type that we do not know",
        &[
            "p22_a_type_that_is_not_known_is_told_by_its_status",
            "p17_what_will_not_succeed_stops_one_name_and_no_other",
            "p22_what_the_ca_has_seen_fail_comes_later",
        ],
    ),
];

/// The same of what may become of an order.
const ORDERS: [(&str, &[&str]); 13] = [
    (
        "no answer, a connection that is cut, or nothing whole within 30 s",
        &[
            "p22_a_ca_that_is_unreachable_is_waited_for",
            "p22_a_ca_that_hangs_is_waited_for",
            "p23_slow_and_cut_connections_cost_no_order",
            "a_silent_ca_costs_one_time_out",
        ],
    ),
    (
        "orders that fail inside the CA one after the other, and none that goes on meanwhile",
        &["p22_a_ca_that_fails_inside_is_asked_ever_more_seldom"],
    ),
    (
        "an answer that is no ACME: not JSON, not what was asked for, longer than 1 MiB, without a nonce",
        &[
            "p22_answers_that_are_no_acme_are_waited_out",
            "an_endless_answer_ends",
            "a_directory_that_is_down_or_wrong_passes",
            "p22_an_answer_without_a_nonce_is_no_nonce",
        ],
    ),
    (
        "the answer is lost, but the CA has done what it was asked for",
        &[
            "p23_any_answer_may_be_lost_and_the_order_goes_on",
            "p22_an_order_that_has_moved_on_is_read_again",
        ],
    ),
    (
        "an order, or its authorization, that the CA does not know any more (404), or that has expired",
        &[
            "p23_an_order_of_no_use_is_replaced",
            "p23_a_ca_that_has_forgotten_everything_is_met_anew",
            "only_an_order_can_be_gone",
        ],
    ),
    (
        "an authorization that is `expired`, `deactivated` or `revoked`",
        &["p23_an_order_of_no_use_is_replaced"],
    ),
    (
        "an order that is `invalid`, with a reason in it or in its challenge",
        &[
            "p17_what_will_not_succeed_stops_one_name_and_no_other",
            "p22_an_order_that_fails_validation_keeps_its_distance",
            "the_reason_of_a_failure_is_found_in_the_challenge",
        ],
    ),
    (
        "an order that is `invalid` for no reason",
        &["p22_what_the_ca_has_seen_fail_comes_later"],
    ),
    (
        "an order that stays `pending` or `processing`",
        &["p23_an_order_that_stays_as_it_is_ends_by_its_deadline_and_another_follows"],
    ),
    (
        "a new order that is `ready` at once, since the name is proven still, or one that was made before",
        &["p23_what_the_ca_has_already_is_taken_up"],
    ),
    (
        "challenges in any order, and of kinds that we do not know",
        &["p23_the_challenge_is_found_in_any_order"],
    ),
    (
        "a question about a renewal (ARI) that is refused, HTTP 429 or 5xx, or gets no answer",
        &["p22_a_wait_for_questions_about_renewals_holds_them_and_no_order"],
    ),
    (
        "Retry-After as seconds or as a date",
        &[
            "p22_a_busy_ca_is_left_alone_for_the_seconds_it_asks",
            "p22_a_busy_ca_is_left_alone_until_the_date_it_names",
            "exchanges_side_by_side_do_not_mix",
            "a_busy_ca_is_heard_in_every_form",
        ],
    ),
];

const GUIDE: &str = include_str!("../../docs/problems.md");
const TESTS: [&str; 7] = [
    include_str!("ca_faults.rs"),
    include_str!("ca_orders.rs"),
    include_str!("ca_reactions.rs"),
    include_str!("cas.rs"),
    include_str!("../ca/faults.rs"),
    include_str!("../ca/issuance.rs"),
    include_str!("../ca/services.rs"),
];

/// Every row of the table below this head has a test, and every test that is named is there.
fn check(head: &str, proofs: &[(&str, &[&str])]) {
    let rows = GUIDE
        .lines()
        .skip_while(|line| !line.starts_with(head))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    assert!(
        rows.eq(proofs.iter().map(|(row, _)| *row)),
        "the proofs below {head} should have the guide's rows"
    );
    for (row, tests) in proofs {
        assert!(!tests.is_empty(), "{row}: no test");
        for test in *tests {
            let is_there = |source: &&str| source.contains(&format!("async fn {test}()"));
            assert!(TESTS.iter().any(is_there), "{row}: no test {test}");
        }
    }
}

#[test]
fn p22_every_row_of_the_table_has_a_test_with_a_server() {
    check("| problem |", &PROBLEMS);
}

#[test]
fn p23_whatever_becomes_of_an_order_has_a_test_with_a_server() {
    check("| what happens |", &ORDERS);
}
