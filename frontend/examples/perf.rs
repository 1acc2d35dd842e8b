//! x
use builder_frontend::{config::ImageConfig, parser, plan::*};
struct I;
impl Images for I {
    fn resolve(&self, r: &str, _: Option<&str>) -> Result<ResolvedImage, ResolveError> {
        Ok(ResolvedImage { id: "sha256:x".into(), reference: r.into(), config: ImageConfig::default() })
    }
}
fn main() {
    for n in [1000usize, 10000] {
        for kind in ["run", "mix", "env", "arg", "stages"] {
            if kind == "stages" && n > 10000 {
                continue;
            }
            let mut t = String::from("FROM busybox AS s0\nARG A=1\nENV B=2 C=3 D=4\n");
            for i in 0..n {
                match kind {
                    "run" => t += &format!("RUN make target-{i} FLAG=$A \"$B\"\n"),
                    "mix" => match i % 5 {
                        0 => t += &format!("ENV V{}=x{i}$B\n", i % 50),
                        1 => t += &format!("COPY a{i} b /d{i}/\n"),
                        2 => t += &format!("LABEL l{i}=$B\n"),
                        3 => t += &format!("WORKDIR /w{i}\n"),
                        _ => t += &format!("RUN step {i} $C\n"),
                    },
                    "env" => t += &format!("ENV V{i}=$B\n"),
                    "arg" => t += &format!("ARG V{i}=$B\n"),
                    _ => t += &format!("FROM s{i} AS s{}\nRUN x{i}\nENV X=$B\n", i + 1),
                }
            }
            let p0 = std::time::Instant::now();
            let f = parser::parse(&t).unwrap();
            let p1 = std::time::Instant::now();
        let mut all = vec![];
        for _ in 0..30 {
            let a = std::time::Instant::now();
            let q = plan(&f, &t, &BuildOptions::default(), &I).unwrap();
            all.push(a.elapsed());
            drop(q);
        }
        all.sort();
        println!("{n:>7} {kind:>6}: parse {:?} plan {:?} median {:?}", p1 - p0, all[0], all[15]);
      }
    }
}
