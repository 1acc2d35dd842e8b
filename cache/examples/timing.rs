use builder_cache::*;
use builder_solver::*;
use std::path::Path;
use std::time::{Duration, Instant};
fn key(n: u64) -> CacheKey {
    let mut b = [7u8; 32];
    b[..8].copy_from_slice(&(n.wrapping_mul(0x9E3779B97F4A7C15)).to_le_bytes());
    CacheKey::from_bytes(b)
}
fn t<T>(name: &str, n: u32, mut f: impl FnMut() -> T) {
    let mut v: Vec<Duration> = vec![];
    for _ in 0..n {
        let s = Instant::now();
        let x = f();
        v.push(s.elapsed());
        drop(x);
    }
    v.sort();
    println!("{name:40} min {:?} median {:?}", v[0], v[v.len() / 2]);
}
fn main() {
    let mode = std::env::args().nth(1).unwrap();
    let root = std::env::args().nth(2).unwrap();
    let root = Path::new(&root);
    match mode.as_str() {
        "fill" => {
            let s0 = Instant::now();
            let store = Store::open(root).unwrap();
            println!("create {:?}", s0.elapsed());
            let comps: Vec<Component> = (0..20)
                .map(|i| Component {
                    part: Part::Env(format!("VAR{i}")),
                    value: "some value here".into(),
                    digest: ContentDigest::from_bytes([i as u8; 32]),
                })
                .collect();
            let mut ids = vec![];
            t("new_layer+commit", 500, || {
                let l = store.new_layer().unwrap();
                ids.push(l.commit(LayerMeta::default()).unwrap());
            });
            let mut n = 0u64;
            t("insert (30 layers, 20 components)", 10000, || {
                n += 1;
                store
                    .insert(&Record {
                        recipe: key(n),
                        content: Some(key(n + 1_000_000)),
                        op: OpDigest::from_bytes(*key(n).as_bytes()),
                        kind: "exec".into(),
                        name: format!("[stage {n}] RUN make"),
                        lineage: format!("l{n}"),
                        components: comps.clone(),
                        output: ids[..30].iter().copied().collect(),
                        cost: Duration::from_secs(1),
                        created_ms: 1,
                    })
                    .unwrap()
            });
            let s0 = Instant::now();
            store.sync().unwrap();
            println!("sync {:?}", s0.elapsed());
            t("put_blob 1k", 200, || {
                n += 1;
                let mut b = vec![1u8; 1000];
                b[..8].copy_from_slice(&n.to_le_bytes());
                store.put_blob(&b).unwrap()
            });
            store.sync().unwrap();
            let s0 = Instant::now();
            drop(store);
            println!("close {:?}", s0.elapsed());
        }
        "warm" => {
            t("open+drop", 200, || drop(Store::open(root).unwrap()));
            t("open", 200, || Store::open(root).unwrap());
            t("open+lease+20 by_recipe+drop", 200, || {
                let s = Store::open(root).unwrap();
                let _l = s.lease().unwrap();
                for i in 0..20 {
                    assert!(s.by_recipe(&key(i * 400 + 1)).unwrap().is_some());
                }
                s.flush_uses().unwrap();
                assert!(!s.unsynced().unwrap());
            });
            let s = Store::open(root).unwrap();
            let mut i = 0;
            t("by_recipe", 5000, || {
                i = i % 10000 + 1;
                s.by_recipe(&key(i)).unwrap()
            });
            let out = s.by_recipe(&key(5)).unwrap().unwrap().output;
            t("lower_dirs 30", 500, || s.lower_dirs(&out).unwrap());
            t("all_records 10k", 20, || s.all_records().unwrap());
            t("lock_key", 500, || s.lock_key(&key(5)).unwrap());
            t("usage", 10, || s.usage().unwrap());
        }
        "content" => {
            let p = vec![std::path::PathBuf::from(root)];
            t("layer_content", 7, || {
                let c = content::layer_content(&p).unwrap();
                println!("{} files {} bytes {}", c.files, c.size, c.digest().short());
                c
            });
            let c = content::layer_content(&p).unwrap();
            println!(
                "listings {} bytes {}",
                c.trees.listings.len(),
                c.trees.listings.iter().map(|l| l.1.len()).sum::<usize>()
            );
            let d = tempfile::tempdir().unwrap();
            let s = Store::open(d.path()).unwrap();
            let s0 = Instant::now();
            s.put_trees(&c.trees).unwrap();
            println!("put_trees {:?}", s0.elapsed());
        }
        _ => {}
    }
}
