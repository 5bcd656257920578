//! Load that goes on while processes die.

use std::{sync::Arc, time::Duration};

use runspine_e2e::{Client, Mesh};
use tokio::{
    sync::{Mutex, watch},
    task::JoinSet,
    time::sleep,
};

use crate::{Diary, Dice, Script, play};

/// Agents that start run after run until they are told to stop.
pub struct Load {
    stop: watch::Sender<bool>,
    agents: JoinSet<()>,
    diaries: Arc<Mutex<Vec<Diary>>>,
}

impl Load {
    /// `agents` agents that work at the same time, on scripts that `write` makes of their dice.
    #[must_use]
    pub fn begin(client: &Client, dice: &mut Dice, agents: usize, write: fn(&mut Dice) -> Script) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut load = Self { stop, agents: JoinSet::new(), diaries: Arc::default() };
        for _ in 0..agents {
            let (client, mut dice, stopped) = (client.clone(), dice.fork(), stopped.clone());
            let diaries = Arc::clone(&load.diaries);
            load.agents.spawn(async move {
                while !*stopped.borrow() {
                    let diary = play(&client, &write(&mut dice)).await;
                    let gone = diary.started.is_none();
                    diaries.lock().await.push(diary);
                    if gone {
                        sleep(Duration::from_millis(20)).await;
                    }
                }
            });
        }
        load
    }

    /// Lets every agent finish its run and gives all diaries.
    ///
    /// # Panics
    /// When an agent met an answer that it must not be given.
    pub async fn end(mut self) -> Vec<Diary> {
        self.stop.send_replace(true);
        while let Some(agent) = self.agents.join_next().await {
            agent.expect("an agent");
        }
        std::mem::take(&mut *self.diaries.lock().await)
    }
}

/// When a process is killed and how long it stays away.
#[derive(Debug, Clone)]
pub struct Blow {
    /// Time since it was started, in microseconds.
    pub after: std::ops::Range<u64>,
    /// Time until it is started again, in microseconds.
    pub away: std::ops::Range<u64>,
}

/// Kills `process` as often as `kills` says, each time at another point, and starts it again.
pub async fn blows(mesh: &mut Mesh, process: &str, dice: &mut Dice, kills: u64, blow: &Blow) {
    for _ in 0..kills {
        sleep(dice.micros(blow.after.clone())).await;
        mesh.kill(process);
        sleep(dice.micros(blow.away.clone())).await;
        mesh.restart(process).await;
    }
}
