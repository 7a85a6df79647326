//! Lists of numbers between ranks.

use bytemuck::Pod;
use optmsm_comm::Comm;

use super::Job;
use crate::error::Result;

/// Sends `send[r]` to each rank r; returns what they send here, of which `counts` says how many numbers come from each.
pub(super) fn all_to_all<T: Pod>(comm: &dyn Comm, send: &[Vec<T>], counts: &[usize]) -> Result<Vec<Vec<T>>> {
    let bytes = |n: usize| n * size_of::<T>();
    let sent: Vec<usize> = send.iter().map(|part| bytes(part.len())).collect();
    let received: Vec<usize> = counts.iter().map(|&n| bytes(n)).collect();
    let mut receive = vec![T::zeroed(); counts.iter().sum()];
    comm.alltoallv(
        bytemuck::cast_slice(&send.concat()),
        &sent,
        bytemuck::cast_slice_mut(&mut receive),
        &received,
    )?;
    Ok(cut(&receive, counts))
}

/// The same where nobody knows how much is to come.
pub(super) fn exchange<T: Pod>(comm: &dyn Comm, send: &[Vec<T>]) -> Result<Vec<Vec<T>>> {
    let send: Vec<Vec<u8>> = send.iter().map(|part| bytemuck::cast_slice(part).to_vec()).collect();
    Ok(optmsm_comm::exchange(comm, &send)?.iter().map(|part| numbers(part)).collect())
}

/// Numbers that all ranks send, one after the other; `counts` says how many numbers each does.
pub(super) fn gather<T: Pod>(comm: &dyn Comm, send: &[T], counts: &[usize]) -> Result<Vec<T>> {
    let mut receive = vec![T::zeroed(); counts.iter().sum()];
    let bytes: Vec<usize> = counts.iter().map(|&n| n * size_of::<T>()).collect();
    comm.allgatherv(bytemuck::cast_slice(send), bytemuck::cast_slice_mut(&mut receive), &bytes)?;
    Ok(receive)
}

/// The same where nobody knows how much is to come: the list of each rank.
pub(super) fn gather_lists<T: Pod>(comm: &dyn Comm, send: &[T]) -> Result<Vec<Vec<T>>> {
    Ok(optmsm_comm::gather(comm, bytemuck::cast_slice(send))?.iter().map(|part| numbers(part)).collect())
}

fn numbers<T: Pod>(bytes: &[u8]) -> Vec<T> {
    bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect()
}

fn cut<T: Copy>(all: &[T], counts: &[usize]) -> Vec<Vec<T>> {
    let mut rest = all;
    let part = |&count: &usize| {
        let (part, later) = rest.split_at(count);
        rest = later;
        part.to_vec()
    };
    counts.iter().map(part).collect()
}

/// Rows of shards that ranks ask for.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// By rank, then by table and by shard of this rank one after the other: rows of the shard.
    of: Vec<Vec<Vec<u32>>>,
    /// By table, then by shard: places of the ids in this rank's list of those that it touches.
    places: Vec<Vec<Vec<u32>>>,
}

impl Asked {
    /// Asks the ranks for the rows of the ids `touched`, by table.
    pub(super) fn ask(job: &Job, touched: &[Vec<u32>]) -> Result<Self> {
        let groups = job.groups();
        let mut places = vec![vec![Vec::new(); groups]; touched.len()];
        for (ids, places) in touched.iter().zip(&mut places) {
            (0..).zip(ids).for_each(|(place, &id)| places[id as usize % groups].push(place));
        }
        let ranks = job.comm().size();
        let of_rank = |rank: usize| {
            let mut message = Vec::new();
            for (ids, places) in touched.iter().zip(&places) {
                for places in &places[job.of(rank)] {
                    message.push(places.len() as u32);
                    message.extend(places.iter().map(|&place| ids[place as usize] / groups as u32));
                }
            }
            message
        };
        let messages = exchange(job.comm(), &(0..ranks).map(of_rank).collect::<Vec<_>>())?;
        let lists = |message: Vec<u32>| {
            let (mut lists, mut rest) = (Vec::new(), &message[..]);
            while let Some((&count, list)) = rest.split_first() {
                let (list, later) = list.split_at(count as usize);
                lists.push(list.to_vec());
                rest = later;
            }
            lists
        };
        Ok(Self { of: messages.into_iter().map(lists).collect(), places })
    }

    /// Rows that a rank asks for of a table and of a shard, the n-th of this rank, which has `share` of them.
    pub(super) fn rows(&self, rank: usize, table: usize, n: usize, share: usize) -> &[u32] {
        &self.of[rank][table * share + n]
    }

    /// Places of the ids of a table, by shard.
    pub(super) fn places(&self, table: usize) -> &[Vec<u32>] {
        &self.places[table]
    }
}
