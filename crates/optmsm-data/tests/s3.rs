//! Data files on a real S3 server: `moto` of PyPI, which checks signatures and rights, in a virtual environment under
//! target/. Without Python 3 or network the test is skipped, and fails under `OPTMSM_REQUIRE=s3`.
#![cfg(feature = "object-store")]

mod common;

use std::fs::File;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::columnar::{all, assert_reads_like, fixture, write_large};
use common::*;
use optmsm_data::Prepared;
use optmsm_data::{Cache, DataConfig, Dataset, Need, Quoting, RowReader, Schema, Source};

const PACKAGE: &str = "moto[server]==5.2.5";

/// Uploads a folder as the bucket `logs`, then lets the server ask for signatures: of one user, who may read, and whose
/// key and secret are printed.
const UPLOAD: &str = r#"
import json, os, sys, urllib.request
import boto3
url, folder = sys.argv[1:]
client = lambda service: boto3.client(service, endpoint_url=url, region_name="us-east-1",
                                      aws_access_key_id="root", aws_secret_access_key="root")
s3, iam = client("s3"), client("iam")
s3.create_bucket(Bucket="logs")
s3.create_bucket(Bucket="private")
s3.put_object(Bucket="private", Key="a.csv", Body=b"label,scenario,city\n1,a,b\n")
s3.put_object(Bucket="logs", Key="spark-parquet/", Body=b"")  # as consoles mark a folder
for place, _, names in os.walk(folder):
    for name in names:
        path = os.path.join(place, name)
        s3.upload_file(path, "logs", os.path.relpath(path, folder))
iam.create_user(UserName="reader")
allow = lambda action, to: {"Effect": "Allow", "Action": action, "Resource": "arn:aws:s3:::" + to}
statements = [allow(["s3:ListBucket"], "logs"), allow(["s3:GetObject", "s3:PutObject"], "logs/*"),
              allow(["s3:ListBucket"], "missing")]
iam.put_user_policy(UserName="reader", PolicyName="read",
                    PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": statements}))
key = iam.create_access_key(UserName="reader")["AccessKey"]
ask = urllib.request.Request(url + "/moto-api/reset-auth", b"0", {"Content-Type": "text/plain"})
urllib.request.urlopen(ask).read()
print(key["AccessKeyId"], key["SecretAccessKey"])
"#;

/// Replaces an object; settings come from the environment.
const REPLACE: &str = r#"
import os, sys, boto3
boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"]).upload_file(sys.argv[1], "logs", sys.argv[2])
"#;

/// A Python that has the server, if it can be had.
fn python() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("moto-5.2.5");
    let (python, ready) = (folder.join("bin/python"), folder.join("ready"));
    let make = || {
        let ok = |c: &mut Command| c.output().is_ok_and(|out| out.status.success());
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE];
        ok(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))
            && ok(Command::new(&python).args(pip))
            && std::fs::write(&ready, "").is_ok()
    };
    let available = ready.exists() || make();
    optmsm_testkit::require("s3", available).then_some(python)
}

/// A server, ended when dropped.
struct Server {
    process: Child,
    url: String,
    log: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

impl Server {
    fn start(python: &Path, log: PathBuf) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let port = address.port().to_string();
        let run = "import sys; from moto.server import main; main(sys.argv[1:])";
        let process = Command::new(python)
            .args(["-c", run, "-H", "127.0.0.1", "-p", &port])
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let server = Self { process, url: format!("http://{address}"), log };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begin.elapsed() < Duration::from_secs(120), "the server does not begin");
            std::thread::sleep(Duration::from_millis(100));
        }
        server
    }

    /// Requests so far whose first line holds this.
    fn requests(&self, part: &str) -> usize {
        std::fs::read_to_string(&self.log).unwrap().lines().filter(|line| line.contains(part)).count()
    }
}

fn call(python: &Path, script: &str, args: &[&str]) -> String {
    let out = Command::new(python).arg("-c").arg(script).args(args).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Settings come from the environment of the process, so each case is one of its own: this program, told which.
const CASE: &str = "OPTMSM_TEST_S3_CASE";

fn child(case: &str, env: &[(&str, &str)]) {
    let mut program = Command::new(std::env::current_exe().unwrap());
    let of_a_store = |name: &str| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|start| name.starts_with(start));
    for (name, _) in std::env::vars().filter(|(name, _)| of_a_store(name)) {
        program.env_remove(name);
    }
    let out = program
        .args(["--exact", "one_case", "--nocapture"])
        .envs([(CASE, case), ("AWS_ALLOW_HTTP", "true"), ("AWS_REGION", "us-east-1")])
        .envs(env.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(out.status.success(), "{case}: {}{}", text(&out.stdout), text(&out.stderr));
}

/// Case that another test starts. It does nothing by itself.
#[test]
fn one_case() {
    if let Ok(case) = std::env::var(CASE) {
        let [python, local] =
            ["TEST_PYTHON", "TEST_LOCAL"].map(|name| std::env::var(name).unwrap_or_default());
        match case.as_str() {
            "rows" => rows(Path::new(&local)),
            "large" => large(Path::new(&local)),
            "names" => names(),
            "changes" => changes(Path::new(&python)),
            "unreachable" => unreachable(),
            "malformed" => malformed(),
            "plain" => {
                let wanted = "s3://logs/rows.csv: the endpoint of its store begins with http://; use https://, or set AWS_ALLOW_HTTP=true";
                assert_eq!(message("s3://logs/rows.csv"), wanted);
            }
            "spaces" => {
                let wanted = "s3://logs: AWS_ACCESS_KEY_ID has a space, a line break or a letter beyond ASCII; set it without";
                assert_eq!(message("s3://logs/rows.csv"), wanted);
            }
            _ => denied(&case),
        }
    }
}

#[test]
fn stores_that_cannot_be_asked() {
    let keys = [("AWS_ACCESS_KEY_ID", "k"), ("AWS_SECRET_ACCESS_KEY", "s")];
    // Nothing listens on port 1.
    child("unreachable", &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), keys[0], keys[1]]);
    child(
        "plain",
        &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("AWS_ALLOW_HTTP", "false"), keys[0], keys[1]],
    );
    child("spaces", &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1"), ("AWS_ACCESS_KEY_ID", "k\n"), keys[1]]);
    child("malformed", &[("AWS_ENDPOINT_URL", "localhost"), ("GOOGLE_BASE_URL", "x"), keys[0], keys[1]]);
}

#[test]
fn a_real_server() {
    let Some(python) = python() else { return };
    let files = Files::new();
    let local = files.path("local");
    fill(&local);
    let server = Server::start(&python, files.path("requests"));
    let key = call(&python, UPLOAD, &[&server.url, local.to_str().unwrap()]);
    let (key, secret) = key.trim().split_once(' ').unwrap();
    let run = |case: &str, key: &str, secret: &str| {
        let paths = [("TEST_PYTHON", python.to_str().unwrap()), ("TEST_LOCAL", local.to_str().unwrap())];
        let keys = [("AWS_ACCESS_KEY_ID", key), ("AWS_SECRET_ACCESS_KEY", secret)];
        child(case, &[("AWS_ENDPOINT_URL", &server.url), paths[0], paths[1], keys[0], keys[1]]);
    };
    run("rows", key, secret);
    run("large", key, secret);
    // Seven columns of 3.2 MB and one of 2 MB, by pieces of a mebibyte, and the footer when it is opened and when it is
    // decoded.
    let requests = server.requests("GET /logs/large.parquet ");
    assert!((20..=7 * 4 + 2 + 2).contains(&requests), "{requests} requests for 24 MB");
    run("names", key, secret);
    run("changes", key, secret);
    run("InvalidAccessKeyId", "nobody", secret);
    run("SignatureDoesNotMatch", key, "wrong");
}

/// Writes the files to upload.
fn fill(local: &Path) {
    for folder in ["spark-parquet", "spark-csv"] {
        let on_disk = Source::from(fixture(folder)).files().unwrap();
        for path in on_disk {
            let to = local.join(path.strip_prefix(fixture("")).unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(&path, &to).unwrap();
        }
        std::fs::write(local.join(folder).join("_SUCCESS"), "").unwrap();
    }
    for name in ["rows.csv", "codec-zstd.parquet", "zstd.feather", "stream.arrow", "good.parquet"] {
        std::fs::copy(fixture(name), local.join(name)).unwrap();
    }
    let gz = File::create(local.join("rows.csv.gz")).unwrap();
    let mut gz = flate2::write::GzEncoder::new(gz, flate2::Compression::fast());
    gz.write_all(&std::fs::read(fixture("rows.csv")).unwrap()).unwrap();
    gz.finish().unwrap();
    std::fs::create_dir(local.join("odd")).unwrap();
    std::fs::copy(fixture("rows.csv"), local.join("odd/a b%20é+[1].csv")).unwrap();
    write_large(&local.join("large.parquet"));
}

/// Schemas and encoded rows are those of the CSV on disk.
fn rows(local: &Path) {
    for name in [
        "rows.csv",
        "rows.csv.gz",
        "codec-zstd.parquet",
        "zstd.feather",
        "stream.arrow",
        "odd/a b%20é+[1].csv",
    ] {
        assert_reads_like(format!("s3://logs/{name}"), "rows.csv", name);
    }
    for kind in ["parquet", "csv"] {
        for pattern in ["", "/", "/scenario=*/part-*", "/scenario=*", "/**/part-*"] {
            assert_reads_like(format!("s3://logs/spark-{kind}{pattern}"), "spark.csv", pattern);
            let shown = |source: String| {
                let files = Source::from(source).files().unwrap();
                files.iter().map(|f| f.display().to_string()).collect::<Vec<_>>()
            };
            let on_disk = shown(format!("{}/spark-{kind}{pattern}", local.display()));
            let on_disk: Vec<_> =
                on_disk.iter().map(|f| f.replace(local.to_str().unwrap(), "s3://logs")).collect();
            assert_eq!(shown(format!("s3://logs/spark-{kind}{pattern}")), on_disk);
        }
    }
    let folder = Files::new();
    let schema = Schema::fit(&all(), "s3://logs/spark-parquet").unwrap();
    let prepare =
        || Cache::prepare(&Source::from("s3://logs/spark-parquet"), &schema, None, &folder.path("c"), |_| {});
    assert_eq!(prepare().unwrap().1, Prepared::Made);
    assert_eq!(prepare().unwrap().1, Prepared::Found);
}

fn large(local: &Path) {
    let (config, path) = (write_large(&local.join("again.parquet")), local.join("large.parquet"));
    let schema = Schema::fit(&config, &path).unwrap();
    assert!(
        Dataset::load("s3://logs/large.parquet", &schema).unwrap() == Dataset::load(&path, &schema).unwrap()
    );
}

fn message(url: &str) -> String {
    Schema::fit(&config(vec![categorical("city")]), url).unwrap_err().to_string()
}

fn names() {
    let key = "check the key; it is taken as it is, without %20 and the like";
    let cases = [
        ("s3://logs/none.parquet", format!("no such object in s3://logs, and no folder; {key}")),
        ("s3://logs/none-*.parquet", "no object matches; check the pattern and the bucket".into()),
        ("s3://logs/odd/none/", "the folder holds no file of data; put .csv, ".into()),
    ];
    for (url, wanted) in cases {
        let error = message(url);
        assert!(error.starts_with(&format!("{}: {wanted}", url.trim_end_matches('/'))), "{error}");
    }
    for url in ["s3://missing/a.csv", "s3://missing/*.csv", "s3://missing/", "s3://missing"] {
        let error = message(url);
        assert!(error.starts_with("s3://missing"), "{error}");
        assert!(error.contains(": there is no such bucket (NoSuchBucket: "), "{error}");
        assert!(error.ends_with("; check its name, AWS_REGION and AWS_ENDPOINT_URL"), "{error}");
    }
    let error = message("s3://private/a.csv");
    assert!(error.starts_with("s3://private/a.csv: access is denied (AccessDenied: "), "{error}");
}

fn unreachable() {
    let error = message("s3://logs/rows.csv");
    assert!(error.starts_with("s3://logs/rows.csv: the store cannot be reached: "), "{error}");
    assert!(error.ends_with("; check the network, AWS_REGION and AWS_ENDPOINT_URL"), "{error}");
}

fn malformed() {
    let error = message("s3://logs/rows.csv");
    let wanted = "s3://logs: the endpoint of its store, \"localhost\", is no URL; write http://host:port or https://host";
    assert!(error.starts_with(wanted), "{error}");
    assert!(message("gs://logs/x").starts_with("gs://logs: the endpoint of its store, \"x\", is no URL"));
    let error = message("az://logs/x");
    assert!(error.starts_with("az://logs: the settings of its store cannot be used: "), "{error}");
    assert!(
        error.contains("; check AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, and"),
        "{error}"
    );
}

fn denied(code: &str) {
    for url in ["s3://logs/rows.csv", "s3://logs/spark-parquet/", "s3://logs/*.parquet"] {
        let error = message(url);
        assert!(error.contains(&format!(": access is denied ({code}: ")), "{error}");
        assert!(
            error.contains("; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"),
            "{error}"
        );
    }
}

/// Between a reader's first look and its rows, and between two passes.
fn changes(python: &Path) {
    let url = "s3://logs/good.parquet";
    // Values of this file have line breaks in them.
    let config = DataConfig { quoting: Quoting::Standard, ..config(vec![categorical("city")]) };
    let schema = Schema::fit(&config, "s3://logs/rows.csv").unwrap();
    let folder = Files::new();
    let prepare = || Cache::prepare(&Source::from(url), &schema, None, &folder.path("c"), |_| {}).unwrap();
    assert_eq!(prepare().1, Prepared::Made);
    let mut reader = RowReader::open(url, &schema, Need::Labelled).unwrap();
    call(python, REPLACE, &[fixture("codec-zstd.parquet").to_str().unwrap(), "good.parquet"]);
    let (mut batch, mut extra) = (optmsm_core::batch::Batch::new(&schema.input_spec()), Default::default());
    let error = reader.read(&mut batch, &mut extra, 1000).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("{url}: the object was changed while it was read; start again")),
        "{error}"
    );
    let (cache, prepared) = prepare();
    assert_eq!((cache.rows(), prepared), (100, Prepared::Made));
}
