//! How long a description takes to become files: to read it, to check it, to render it, and the three together for 500 clusters.
//! `cargo bench -p generator`.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use generator::check::check;
use generator::render::{Agent, render};
use generator::secrets::Secrets;
use generator::spec::Cluster;

const PAIR: &str = include_str!("../examples/pair.toml");
const ROLE: &str = include_str!("../examples/role.toml");

/// How many clusters are rendered at a time where many are.
const MANY: usize = 500;

fn one(criterion: &mut Criterion) {
    for (name, text) in [("pair", PAIR), ("role", ROLE)] {
        let loaded = Cluster::parse(name, text).expect("the example is sound");
        let secrets = Secrets::from_seed(&loaded.cluster, 1).expect("secrets can be made");
        let agent = Agent::stand_in();
        let mut group = criterion.benchmark_group(name);
        group.bench_function("read", |bencher| {
            bencher.iter(|| Cluster::parse(name, black_box(text)).expect("the example is sound"));
        });
        group.bench_function("check", |bencher| bencher.iter(|| check(black_box(&loaded))));
        group.bench_function("render", |bencher| {
            bencher.iter(|| render(black_box(&loaded.cluster), &secrets, Some(&agent)).expect("it renders"));
        });
        group.finish();
    }
}

/// Clusters of different names, and networks of their own.
fn many(criterion: &mut Criterion) {
    let texts: Vec<String> = (0..MANY)
        .map(|number| {
            let net = format!("10.{}.{}.", number / 256, number % 256);
            PAIR.replace("name = \"pair\"", &format!("name = \"pair{number}\""))
                .replace("192.168.1.", &net)
        })
        .collect();
    let first: Cluster = toml::from_str(PAIR).expect("the example is sound");
    let secrets = Secrets::from_seed(&first, 1).expect("secrets can be made");
    let mut group = criterion.benchmark_group("many");
    group.throughput(Throughput::Elements(MANY as u64)).sample_size(10);
    group.bench_function("500 clusters", |bencher| {
        bencher.iter(|| {
            for text in &texts {
                let loaded = Cluster::parse("cluster.toml", text).expect("it is sound");
                black_box(check(&loaded));
                black_box(render(&loaded.cluster, &secrets, None).expect("it renders"));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, one, many);
criterion_main!(benches);
