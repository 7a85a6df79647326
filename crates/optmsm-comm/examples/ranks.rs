//! One rank of a job that a launcher of MPI starts; tests/launched says which. `ranks PART FOLDER` leaves a file with its process number
//! in the folder.

#[path = "../tests/suite/mod.rs"]
mod suite;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{env, fs, process, thread};

use optmsm_comm::{Comm, Cores, world};

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [part, folder] = &arguments[..] else { panic!("ranks PART FOLDER") };
    let comm = world().unwrap_or_else(|error| {
        eprintln!("error: {error}");
        process::exit(2)
    });
    let (rank, size) = (comm.rank(), comm.size());
    let last = rank + 1 == size;
    let folder = Path::new(folder);
    if size > 1 {
        // Threads that wait for each other leave time to others.
        fs::write(folder.join(rank.to_string()), process::id().to_string()).unwrap();
    }
    match part.as_str() {
        "operations" => operations(&comm, folder),
        // The others wait for it.
        "abort" if last => comm.abort(7),
        // A call of another thread never ends, for rank 0 does not come.
        "abort-within" if last => {
            let other = Arc::clone(&comm);
            thread::spawn(move || other.barrier());
            thread::sleep(Duration::from_millis(300));
            comm.abort(7)
        }
        "abort-within" | "wait" if rank == 0 => thread::sleep(Duration::from_secs(600)),
        "leave" if last => process::exit(3),
        "panic" if last => panic!("a rank panics"),
        // The last expects less of rank 0 than that sends.
        "mismatch" => {
            let mut counts = vec![5; size];
            let send = vec![1; 5 * size];
            if last {
                counts[0] = 3;
            }
            let mut receive = vec![0; counts.iter().sum()];
            if let Err(error) = comm.alltoallv(&send, &vec![5; size], &mut receive, &counts) {
                eprintln!("error: {error}");
                assert_eq!(
                    comm.barrier().unwrap_err().to_string().split(": ").last(),
                    Some("an operation before has failed")
                );
                process::exit(4)
            }
        }
        "cores" => {
            println!("{}", Cores::here().and_then(|cores| cores.warning()).unwrap_or("no warning".into()))
        }
        _ => (),
    }
    // Where a rank is gone, this is an error, or the launcher ends this one.
    if let Err(error) = comm.barrier() {
        eprintln!("error: {error}");
        process::exit(5)
    }
}

fn operations(comm: &Arc<dyn Comm>, folder: &Path) {
    let (rank, size) = (comm.rank(), comm.size());
    suite::operations(&**comm);
    suite::mistakes(&**comm);
    // The same job, from another thread.
    if size > 1 {
        assert!(Arc::ptr_eq(comm, &world().unwrap()));
    }
    thread::scope(|scope| scope.spawn(|| suite::operations(&**comm)).join()).unwrap();
    // A barrier waits for the slowest.
    thread::sleep(Duration::from_millis(if rank == 0 { 200 } else { 0 }));
    fs::write(folder.join(format!("{rank}.arrived")), "").unwrap();
    comm.barrier().unwrap();
    let all = (0..size).filter(|rank| folder.join(format!("{rank}.arrived")).exists()).count();
    assert_eq!(all, size);
    println!("fine: {comm:?}");
}
