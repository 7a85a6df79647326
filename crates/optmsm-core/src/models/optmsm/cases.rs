//! Gradient cases of OptMSM.

use crate::config::{Activation, Combine, Condition, Role};
use crate::gradcheck::{Case, case};

/// Every combination of combine × condition × rank, K from 1 to 8, dropout, no specific field, and [`field_cases`].
pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for combine in [Combine::Gate, Combine::Select] {
        for condition in [Condition::Scenario, Condition::Instance] {
            for rank in [0, 2, 5] {
                let name = format!("{combine:?} {condition:?} rank {rank}").to_lowercase();
                cases.push(case(&name, |c| {
                    c.config.combine = combine;
                    c.config.hyper.condition = condition;
                    c.config.hyper.rank = rank;
                }));
            }
        }
    }
    for k in [1, 2, 4, 5, 6, 7, 8] {
        cases.push(case(&format!("gate, K = {k}"), |c| c.config.experts.count = k));
    }
    cases.push(case("dropout", |c| {
        c.config.experts.dropout = 0.3;
        c.config.tower.dropout = 0.2;
    }));
    cases.push(case("dropout, instance", |c| {
        c.config.experts.dropout = 0.3;
        c.config.tower.dropout = 0.2;
        c.config.hyper.condition = Condition::Instance;
    }));
    cases.push(case("no specific field, no weights", |c| {
        c.input.fields.retain(|f| f.role == Role::Shared);
        c.weighted = false;
    }));
    cases.push(case("tower without hidden layer", |c| {
        c.config.tower.hidden.clear();
        c.config.hyper.rank = 1;
    }));
    for output in [Activation::Linear, Activation::Normalized] {
        for combine in [Combine::Gate, Combine::Select, Combine::Mean] {
            let name = format!("{output:?} experts, {combine:?}").to_lowercase();
            cases.push(case(&name, |c| {
                c.config.expert_output = output;
                c.config.combine = combine;
            }));
        }
    }
    cases.push(case("mean", |c| c.config.combine = Combine::Mean));
    cases.push(case("one tower for all scenarios", |c| c.config.hyper.condition = Condition::Shared));
    cases.push(case("one whole tower for all scenarios", |c| {
        c.config.hyper.condition = Condition::Shared;
        c.config.hyper.rank = 0;
    }));
    cases.extend(field_cases());
    cases
}

/// Differences in how the gradients of the fields and of the layers that read them are made: the length of lists, how often ids
/// repeat, fields without a table, and first layers that are the last ones too.
pub fn field_cases() -> Vec<Case> {
    let mut cases = vec![
        case("short lists", |c| {
            c.config.embedding_dim = 16;
            c.draw.lists = 3;
        }),
        case("long lists", |c| {
            c.set_vocab(20);
            c.draw.lists = 16;
        }),
        case("distinct ids", |c| {
            c.set_vocab(40);
            c.draw.distinct = true;
        }),
        case("one id", |c| c.set_vocab(1)),
        case("numeric fields only", Case::without_tables),
        case("numeric fields only, one layer", |c| {
            c.without_tables();
            (c.config.experts.hidden, c.config.specific.hidden) = (vec![4], vec![3]);
        }),
        case("one layer of experts", |c| c.config.experts.hidden = vec![4]),
        case("one layer of experts, dropout", |c| {
            c.config.experts.hidden = vec![4];
            c.config.experts.dropout = 0.3;
            c.draw.lists = 16;
        }),
        case("one specific layer", |c| c.config.specific.hidden = vec![3]),
    ];
    cases.extend([
        case("a table of fields of both roles", |c| c.share(&["user", "slot"])),
        case("a table of ids and lists", |c| c.share(&["user", "tags", "slot"])),
        case("a table of all, long lists", |c| {
            c.share(&["user", "tags", "slot", "words"]);
            c.draw.lists = 16;
        }),
    ]);
    for combine in [Combine::Gate, Combine::Select] {
        for condition in [Condition::Scenario, Condition::Instance] {
            let name = format!("one layer each, long lists, {combine:?} {condition:?}").to_lowercase();
            cases.push(case(&name, |c| {
                (c.config.experts.hidden, c.config.specific.hidden) = (vec![4], vec![3]);
                (c.config.combine, c.config.hyper.condition) = (combine, condition);
                c.draw.lists = 16;
            }));
        }
    }
    cases
}
