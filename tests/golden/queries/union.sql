-- order: sorted
SELECT k FROM Mixed WHERE i = 1 UNION ALL SELECT t FROM Mixed WHERE i = 1;
SELECT k FROM Mixed UNION SELECT sid FROM Bid;
