//! Escrow moves between an envelope and its runs.

use super::{Book, Missing};
use crate::{
    account::{AllocKey, Allocation, PeriodKey},
    limit::Key,
    words::EntryKind,
};

/// Share of what is available that a chunk may take.
const CHUNK_PERMILLE: i64 = 50;

impl Book {
    /// The allocation, opened when it is closed or does not exist.
    pub(super) fn opened(&mut self, key: AllocKey) -> Allocation {
        let known = self.allocation(key).copied();
        match known {
            Some(allocation) if allocation.open => allocation,
            Some(allocation) => {
                let allocation = Allocation { granted: 0, held: 0, spent: 0, open: true, ..allocation };
                self.set_allocation(allocation);
                allocation
            }
            None => {
                let allocation = Allocation::new(key);
                self.set_allocation(allocation);
                allocation
            }
        }
    }

    /// Gets `short` more free escrow for an allocation: from what is available, then from other runs' idle escrow.
    /// Returns how much of it was found. `chunked`: takes more than needed where plenty is left, so that the next steps
    /// of the run need not come back.
    pub(super) fn cover(&mut self, key: AllocKey, short: i64, chunked: bool) -> Result<i64, Missing> {
        let period_key = (key.1, key.2);
        let limit = self.terms(key.1)?;
        self.need_period(period_key)?;
        self.checkpoint(key)?;
        let period = self.need_period(period_key)?;
        let available = period.available(&limit);
        let warned = period.used_permille(&limit, self.open_spent(period_key)) >= limit.spec.warn_permille;
        let chunk = if chunked && !warned {
            limit
                .spec
                .unit
                .chunk_max()
                .min(available / 1_000 * CHUNK_PERMILLE + available % 1_000 * CHUNK_PERMILLE / 1_000)
        } else {
            0
        };
        let mut found = self.grant(key, available.min(short.max(chunk)))?;
        if found < short {
            self.reclaim(period_key, Some(key.0), short - found)?;
            let available = self.need_period(period_key)?.available(&limit);
            found += self.grant(key, available.min(short - found))?;
        }
        self.watch(period_key, Some(key.0), false)?;
        Ok(found.min(short))
    }

    fn grant(&mut self, key: AllocKey, amount: i64) -> Result<i64, Missing> {
        if amount <= 0 {
            return Ok(0);
        }
        let mut period = self.need_period((key.1, key.2))?;
        let mut allocation = self.opened(key);
        period.granted += amount;
        allocation.granted += amount;
        self.set_period(period);
        self.set_allocation(allocation);
        self.record_for(key, EntryKind::Grant, amount);
        Ok(amount)
    }

    /// Takes idle escrow back from other runs, largest first, until `need` is available or none is left.
    pub(super) fn reclaim(&mut self, key: PeriodKey, except: Option<Key>, need: i64) -> Result<(), Missing> {
        if !self.complete.contains(&key) {
            return Err(Missing::Allocations(key));
        }
        let (limit, mut period) = (self.terms(key.0)?, self.need_period(key)?);
        let mut wanted = need - period.room(&limit);
        let idle = |a: &&Allocation| a.open && a.free() > 0 && Some(a.key.0) != except;
        let mut victims: Vec<Allocation> = self.allocations_in(key).filter(idle).copied().collect();
        victims.sort_by_key(|a| (std::cmp::Reverse(a.free()), a.key));
        for mut victim in victims {
            let taken = victim.free().min(wanted);
            if taken <= 0 {
                break;
            }
            victim.granted -= taken;
            period.granted -= taken;
            wanted -= taken;
            self.set_allocation(victim);
            self.record_for(victim.key, EntryKind::Reclaim, taken);
        }
        self.set_period(period);
        self.repay(key)
    }

    /// Books what an allocation spent to its envelope.
    pub(super) fn checkpoint(&mut self, key: AllocKey) -> Result<(), Missing> {
        let Some(mut allocation) = self.allocation(key).copied() else { return Ok(()) };
        if allocation.spent == 0 || !allocation.open {
            return Ok(());
        }
        let mut period = self.need_period((key.1, key.2))?;
        period.settled += allocation.spent;
        period.granted -= allocation.spent;
        self.record_for(key, EntryKind::Checkpoint, allocation.spent);
        allocation.granted -= allocation.spent;
        allocation.spent = 0;
        self.set_period(period);
        self.set_allocation(allocation);
        Ok(())
    }

    /// Gives free escrow back to the envelope.
    pub(super) fn give_back(&mut self, key: AllocKey) -> Result<(), Missing> {
        let Some(mut allocation) = self.allocation(key).copied() else { return Ok(()) };
        let free = allocation.free();
        if free <= 0 || !allocation.open {
            return Ok(());
        }
        let mut period = self.need_period((key.1, key.2))?;
        allocation.granted -= free;
        period.granted -= free;
        self.set_allocation(allocation);
        self.set_period(period);
        self.record_for(key, EntryKind::Return, free);
        self.repay(allocation.period())
    }

    /// Pays debt with what came back.
    pub(super) fn repay(&mut self, key: PeriodKey) -> Result<(), Missing> {
        let (limit, mut period) = (self.terms(key.0)?, self.need_period(key)?);
        let paid = period.repay(&limit);
        if paid > 0 {
            self.set_period(period);
            self.record(key, EntryKind::DebtRepaid, None, paid);
        }
        Ok(())
    }
}
