//! The rate limiter: bounds a task's service rate, so that scaling can be seen independent of the hardware.

/// A server with a fixed time per row. Time waited in it stands for work and counts as busy; there is no credit for idle time, so that
/// the busy share of a task is its load.
#[derive(Debug)]
pub struct Limiter {
    us_per_record: f64,
    /// When all rows admitted so far have been served.
    free_at_us: f64,
}

impl Limiter {
    /// At most this many rows a second; none if the number is not a positive one.
    pub fn new(records_per_second: f64) -> Option<Self> {
        let valid = records_per_second.is_finite() && records_per_second > 0.0;
        valid.then(|| Self { us_per_record: 1e6 / records_per_second, free_at_us: 0.0 })
    }

    /// Rows are being served: they take their time from now on.
    pub fn admit(&mut self, records: usize, now_us: u64) {
        self.free_at_us = self.free_at_us.max(now_us as f64) + records as f64 * self.us_per_record;
    }

    /// When the next row may be served, if not now.
    pub fn wait_until_us(&self, now_us: u64) -> Option<u64> {
        (self.free_at_us > now_us as f64).then_some(self.free_at_us as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serves_at_the_rate_asked_for() {
        let mut limiter = Limiter::new(1000.0).unwrap();
        let (mut now, mut served) = (1_000_000, 0);
        while now < 11_000_000 {
            match limiter.wait_until_us(now) {
                Some(until) => now = until.max(now + 1),
                None => {
                    limiter.admit(37, now);
                    served += 37;
                }
            }
        }
        assert!((10_000 - 50..=10_000 + 50).contains(&served), "{served} rows in 10 s");
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let mut limiter = Limiter::new(1000.0).unwrap();
        limiter.admit(1, 0);
        limiter.admit(10, 60_000_000);
        assert_eq!(limiter.wait_until_us(60_000_000), Some(60_010_000));
        assert!(Limiter::new(0.0).is_none() && Limiter::new(f64::NAN).is_none());
    }
}
